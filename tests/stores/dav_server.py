"""A WebDAV server that asks for a password: WsgiDAV in a process of its own.

usage: python dav_server.py FOLDER USER PASSWORD      prints its url; ends with its standard input
"""

import os
import sys
import threading

from cheroot.wsgi import Server
from wsgidav.wsgidav_app import WsgiDAVApp


def main(folder: str, user: str, password: str) -> None:
    configuration = {
        "provider_mapping": {"/": folder},
        "simple_dc": {"user_mapping": {"*": {user: {"password": password}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "lock_storage": False,
        "verbose": 0,
        "logging": {"enable": False},
    }
    server = Server(("127.0.0.1", 0), WsgiDAVApp(configuration))
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.bind_addr[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # its threads do not end by themselves


main(*sys.argv[1:])
