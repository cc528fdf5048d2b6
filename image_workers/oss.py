"""A bucket of Aliyun OSS, through the vendor's library oss2. Imported only when such a bucket is configured.

oss2 signs, sends and compares checksums. It does not retry, and what it raises and logs holds signatures. So every
failure becomes one of our errors here, which names the status, the error code and the request id for the vendor's
support, and is tried again by the job's rule. Nothing that holds the key or a signature may leave this module.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

import oss2
from oss2.exceptions import InconsistentError, NoSuchBucket, RequestError, ServerError

from image_workers.config import OssConfig
from image_workers.errors import ConfigError, Refused, Unavailable
from image_workers.names import check_name
from image_workers.progress import UNWATCHED, Moved

TIMEOUT_S = 10.0
"""To connect, and for each part to be sent or received. Not for the whole, which takes as long as the line is slow."""

_NEVER_DOES = ("InvalidObjectName", "InvalidArgument", "EntityTooLarge")
"""Any other error may be gone the next time. That includes 403: keys are exchanged, rights given, clocks set."""
_CLOCK_IS_WRONG = "RequestTimeTooSkewed"
"""403 too, but a machine that has just started may still be setting its clock."""
_REASON_CHARACTERS = 300

_log = logging.getLogger(__name__)
# It logs whole requests, with their signatures, as DEBUG, and answers that repeat a wrong one as INFO.
logging.getLogger("oss2").setLevel(logging.CRITICAL)


class OssBucket:
    """Objects of one bucket, which is made, readable by its owner only, if it does not exist.

    At most `connections` are kept open. Raises `ConfigError` if the bucket cannot be used, `Unavailable` if it does
    not answer now.
    """

    def __init__(self, config: OssConfig, connections: int, timeout_s: float = TIMEOUT_S) -> None:
        self._headers = _headers(config)
        self._prefix = f"{config.root_path}/" if config.root_path else ""
        self._bucket = oss2.Bucket(
            _auth(config),
            config.endpoint,
            config.name,
            is_cname=config.own_domain,
            session=oss2.Session(pool_size=connections),
            connect_timeout=timeout_s,  # of reading too
            region=config.region,
        )
        try:
            with _errors_as_ours():
                self._make()
        except (PermissionError, Refused) as error:
            hint = "; check access_id, access_key, security_token, the key's rights and this machine's clock"
            raise ConfigError(
                f"bucket: {config.name} at {config.endpoint} cannot be used: {error}"
                + (hint if isinstance(error, PermissionError) else "")
            ) from None
        except OSError as error:
            raise Unavailable(f"bucket: {config.name} at {config.endpoint}: {error}") from None
        except (ParseError, RuntimeError) as error:  # what oss2 raises for an answer that is not the XML it expects
            raise Unavailable(f"bucket: {config.endpoint} does not answer as OSS does: {error}") from None

    def put(self, key: str, content: BinaryIO, content_type: str, moved: Moved = UNWATCHED.moved) -> None:
        check_name(key)
        so_far = 0

        def told(sent: int, _total: int | None) -> None:
            nonlocal so_far
            moved(sent - so_far)
            so_far = sent

        with _errors_as_ours():
            result = self._bucket.put_object(
                self._prefix + key,
                content,
                headers={**self._headers, "Content-Type": content_type},
                progress_callback=told,
            )
        if result.crc is None:  # which oss2 lets pass
            result.resp.response.close()
            raise OSError(f"the answer {result.status} has no checksum: it was cut off, or does not come from OSS")

    def _make(self) -> None:
        try:
            self._bucket.get_bucket_info()
        except NoSuchBucket:
            # Only then: for a bucket that exists this would change who may read it.
            self._bucket.create_bucket(oss2.BUCKET_ACL_PRIVATE)
            _log.info("the bucket %s was made; only its owner can read it", self._bucket.bucket_name)


def _auth(config: OssConfig) -> Any:
    if config.security_token:
        return oss2.StsAuth(config.access_id, config.access_key, config.security_token, config.signature)
    auth = oss2.AuthV4 if config.signature == "v4" else oss2.Auth
    return auth(config.access_id, config.access_key)


def _headers(config: OssConfig) -> dict[str, str]:
    """Those that every object is put with."""
    headers = {"Cache-Control": config.cache_control, "x-oss-object-acl": config.object_acl}
    return {name: value for name, value in headers.items() if value is not None}


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    """Without the errors of oss2 as their cause: a traceback would show them."""
    try:
        yield
    except ServerError as error:
        if error.code in _NEVER_DOES:
            raise Refused(_reason(error)) from None
        refused = error.status == 403 and error.code != _CLOCK_IS_WRONG
        raise (PermissionError if refused else OSError)(_reason(error)) from None
    except RequestError as error:
        raise OSError(f"OSS cannot be reached: {error.exception}") from None
    except InconsistentError as error:
        raise OSError(f"OSS stored other bytes than were sent: {error.body}") from None


def _reason(error: ServerError) -> str:
    code = error.code or "without an error code"
    reason = f"OSS answered {error.status} {code} (request {error.request_id}): {error.message or 'no message'}"
    return " ".join(reason.split())[:_REASON_CHARACTERS]
