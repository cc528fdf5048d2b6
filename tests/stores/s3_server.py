"""An S3 server that checks signatures: moto, with the keys of a user that it made, in a process of its own.

usage: INITIAL_NO_AUTH_ACTION_COUNT=3 python s3_server.py BUCKET
       prints its url, the id and the secret of the key; ends with its standard input

The variable is moto's: after so many requests, which make the user, all must be signed.

moto compares the signature with what botocore makes of the request. It takes the query as it stands in the request,
where AWS decodes and encodes it again, so it would refuse a "/" that a client did not escape; here it is encoded first.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "us-east-1"
MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

moto = DomainDispatcherApplication(create_backend_app)


class Silent(WSGIRequestHandler):
    def log_request(self, *_: object) -> None: ...


def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    environ["QUERY_STRING"] = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    return moto(environ, start)  # type: ignore[no-any-return]


def main(bucket: str) -> None:
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    anybody = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    iam = boto3.client("iam", endpoint_url=url, region_name=REGION, **anybody)
    iam.create_user(UserName="worker")
    key = iam.create_access_key(UserName="worker")["AccessKey"]
    iam.put_user_policy(UserName="worker", PolicyName="all", PolicyDocument=json.dumps(MAY_ALL))
    keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    boto3.client("s3", endpoint_url=url, region_name=REGION, **keys).create_bucket(Bucket=bucket)
    sys.stdout.write(json.dumps([url, key["AccessKeyId"], key["SecretAccessKey"]]) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # its threads do not end by themselves


main(sys.argv[1])
