"""A bucket of Aliyun OSS, through the vendor's library oss2. Imported only when such a bucket is configured.

oss2 signs, sends and compares checksums. It does not retry, and what it raises and logs holds signatures. So every
failure becomes one of our errors here, which names the status, the error code and the request id for the vendor's
support, and is tried again by the job's rule. Nothing that holds the key or a signature may leave this module.

An object is put without a name and then copied to its key within OSS. A request that OSS, or anything before it, held
for minutes can then only fail: a later put has taken its source away.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

import oss2
from oss2.exceptions import InconsistentError, NoSuchBucket, NoSuchKey, NotFound, RequestError, ServerError

from image_workers.errors import ConfigError, Refused, Unavailable
from image_workers.names import check_name
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores import PART_BYTES, Entry, Stat, Store, check_size, unfinished_folder, unfinished_name
from image_workers.stores.keys import KeyFile
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import OssConfig

TIMEOUT_S = 10.0
"""To connect, and for each part to be sent or received. Not for the whole, which takes as long as the line is slow."""

_NEVER_DOES = ("InvalidObjectName", "InvalidArgument", "EntityTooLarge")
"""Any other error may be gone the next time. That includes 403: keys are exchanged, rights given, clocks set."""
_CLOCK_IS_WRONG = "RequestTimeTooSkewed"
"""403 too, but a machine that has just started may still be setting its clock."""
_REASON_CHARACTERS = 300
_ETAG = re.compile(rb"<ETag>(?:&quot;|\")?([0-9A-Za-z-]+)")

_log = logging.getLogger(__name__)
# It logs whole requests, with their signatures, as DEBUG, and answers that repeat a wrong one as INFO.
logging.getLogger("oss2").setLevel(logging.CRITICAL)


class OssStore(Store):
    """Objects of one bucket, which is made, readable by its owner only, if it does not exist.

    At most `connections` are kept open; what is read goes through `scratch`. Raises `ConfigError` if the bucket cannot
    be used, `Unavailable` if it does not answer now.
    """

    def __init__(self, config: OssConfig, connections: int, scratch: Scratch, timeout_s: float = TIMEOUT_S) -> None:
        self._scratch = scratch
        self._cache = _headers({"Cache-Control": config.cache_control})
        self._acl = _headers({"x-oss-object-acl": config.object_acl})
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

    def put(self, name: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
        check_name(name)
        with _errors_as_ours():
            self._take_away(unfinished_folder(name))
            unfinished = self._prefix + unfinished_name(name)
            try:
                self._send(unfinished, content, content_type, progress)
                progress.moved(0)
                return self._name(unfinished, name)
            finally:
                with suppress(oss2.exceptions.OssError):  # a later put, or a sweep, takes it away
                    self._bucket.delete_object(unfinished)

    def stat(self, name: str) -> Stat | None:
        check_name(name)
        with _errors_as_ours():
            try:
                found = self._bucket.head_object(self._prefix + name)
            except NotFound:
                return None
        return Stat(found.content_length, found.etag)

    @contextmanager
    def open(
        self, name: str, progress: Progress = UNWATCHED, max_bytes: int | None = None
    ) -> Iterator[tuple[BinaryIO, str]]:
        check_name(name)
        with _errors_as_ours():
            try:
                found = self._bucket.get_object(self._prefix + name)
            except NoSuchKey:
                raise FileNotFoundError(f"there is no object {name!r}") from None
        check_size(name, found.content_length, max_bytes)
        with self._scratch.file(found.content_length, progress) as file:
            with _errors_as_ours():
                while part := found.read(PART_BYTES):
                    file.write(part)
                    progress.moved(len(part))
                if found.client_crc != found.server_crc:
                    raise OSError(f"{name!r} was cut off, or changed on its way: its checksum is another one")
            file.seek(0)
            yield file, found.etag

    def remove(self, name: str, version: str | None = None) -> bool:
        """OSS cannot compare and remove at once: what is put between the two is removed too."""
        if version is None:
            with _errors_as_ours():
                self._take_away(unfinished_folder(name))
        found = self.stat(name)
        if found is None or version not in (None, found.version):
            return False
        with _errors_as_ours():
            self._bucket.delete_object(self._prefix + name)
        return True

    def discard(self, unfinished: Entry) -> None:
        with _errors_as_ours():
            self._bucket.delete_object(self._prefix + unfinished.name)

    def _send(self, key: str, content: BinaryIO, content_type: str, progress: Progress) -> None:
        so_far = 0

        def told(sent: int, _total: int | None) -> None:
            nonlocal so_far
            progress.moved(sent - so_far)
            so_far = sent

        headers = {**self._cache, **self._acl, "Content-Type": content_type}
        result = self._bucket.put_object(key, content, headers=headers, progress_callback=told)
        if result.crc is None:  # which oss2 lets pass
            result.resp.response.close()
            raise OSError(f"the answer {result.status} has no checksum: it was cut off, or does not come from OSS")

    def _name(self, unfinished: str, name: str) -> str:
        copied = self._bucket.copy_object(self._bucket.bucket_name, unfinished, self._prefix + name, headers=self._acl)
        told = _ETAG.search(copied.resp.read())
        if told is None:
            raise OSError(f"the answer {copied.status} to a copy tells no ETag: it was cut off, or is not from OSS")
        return told[1].decode()

    def _take_away(self, folder: str) -> None:
        for each in self._below(folder):
            self._bucket.delete_object(each.key)

    def _below(self, folder: str) -> Any:
        return oss2.ObjectIteratorV2(self._bucket, prefix=self._prefix + folder, max_retries=1)

    def listed(self, folder: str) -> Iterator[Entry]:
        with _errors_as_ours():
            for each in self._below(folder):
                yield Entry(each.key.removeprefix(self._prefix), each.size, each.last_modified)

    def _make(self) -> None:
        try:
            self._bucket.get_bucket_info()
        except NoSuchBucket:
            # Only then: for a bucket that exists this would change who may read it.
            self._bucket.create_bucket(oss2.BUCKET_ACL_PRIVATE)
            _log.info("the bucket %s was made; only its owner can read it", self._bucket.bucket_name)


class _FromFile(oss2.credentials.CredentialsProvider):  # type: ignore[misc]  # oss2 has no types
    """The key that the file holds at the moment, as oss2 asks for it before each request."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._path = path
        self.get_credentials()

    def get_credentials(self) -> Any:
        keys, _ = self._file.read()
        try:
            return oss2.credentials.Credentials(keys["access_id"], keys["access_key"], keys.get("security_token", ""))
        except KeyError as error:
            raise ConfigError(
                f"{self._path}: {error.args[0]} is missing; it must have access_id and access_key"
            ) from None


def _auth(config: OssConfig) -> Any:
    if config.key_file is not None:
        provider = _FromFile(config.key_file)
        return oss2.ProviderAuthV4(provider) if config.signature == "v4" else oss2.ProviderAuth(provider)
    if config.security_token:
        return oss2.StsAuth(config.access_id, config.access_key, config.security_token, config.signature)
    auth = oss2.AuthV4 if config.signature == "v4" else oss2.Auth
    return auth(config.access_id, config.access_key)


def _headers(said: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in said.items() if value is not None}


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
    except (ParseError, RuntimeError) as error:  # what oss2 raises for an answer that is not the XML it expects
        raise OSError(f"it does not answer as OSS does: {error}") from None
    except ConfigError as error:  # of a file of keys that is being exchanged
        raise OSError(str(error)) from None
    except InconsistentError as error:
        raise OSError(f"OSS stored other bytes than were sent: {error.body}") from None


def _reason(error: ServerError) -> str:
    code = error.code or "without an error code"
    reason = f"OSS answered {error.status} {code} (request {error.request_id}): {error.message or 'no message'}"
    return " ".join(reason.split())[:_REASON_CHARACTERS]
