"""A store behind whatever OpenDAL speaks: S3 and what is compatible, WebDAV, and some forty more that are untried here.

Imported only when a url is configured. OpenDAL signs and sends; it retries nothing here, since the job's rule does.
Each call has a limit of time, and is told to `progress` as work, not as bytes: OpenDAL sends small files at once and
says nothing meanwhile. What it raises names requests and answers at length; the first words are enough.
"""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO
from urllib.parse import parse_qsl, urlsplit

import opendal
import opendal.config
from opendal import exceptions
from opendal.exceptions import ConditionNotMatch, ConfigInvalid, NotFound, PermissionDenied, Unsupported
from opendal.layers import TimeoutLayer
from opendal.options import WriteKwargs

from image_workers.errors import ConfigError, Refused, Unavailable
from image_workers.names import check_name
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores import PART_BYTES, Entry, Stat, Store, check_size, unfinished_folder, unfinished_name
from image_workers.stores.keys import KeyFile
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import UrlConfig
from periodic_client.texts import nearest

TIMEOUT_S = 60.0
"""For a request without content."""
_UPLOAD_PART_BYTES = 5 * 2**20
"""A larger file is sent in such parts, where the store takes parts. S3 wants no smaller ones."""
_PART_S = 300.0
"""For each of these. OpenDAL does not say how far it is, so this is how long a server may stand still."""
_REASON_CHARACTERS = 300
_TRIED = ("s3", "webdav")
_COMPARES_ON_REMOVAL = ("s3",)
"""Stores that remove an object only if it still has the ETag that was seen. Others may remove a newer one."""

_ERRORS = (
    NotFound, PermissionDenied, exceptions.IsADirectory, exceptions.NotADirectory, exceptions.Error,
    exceptions.AlreadyExists, exceptions.ConditionNotMatch, exceptions.ConfigInvalid, exceptions.Conflict,
    exceptions.IsSameFile, exceptions.RangeNotSatisfied, exceptions.RateLimited, exceptions.Unexpected,
    exceptions.Unsupported,
)  # fmt: skip
"""They have no base of their own."""

_log = logging.getLogger(__name__)


class RemoteStore(Store):
    """Files below the url. `send_s` is for the content of one file, where it cannot go in parts.

    Raises `ConfigError` if the store cannot be used, `Unavailable` if it does not answer now. `key` is that of the
    configuration.
    """

    def __init__(
        self, config: UrlConfig, key: str, scratch: Scratch, send_s: float, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._config = config
        self._scratch = scratch
        self._timeout_s = timeout_s
        self._send_s = send_s
        self._keys = KeyFile(config.key_file) if config.key_file else None
        self._service = config.url.split(":", 1)[0]
        self._opened: opendal.Operator | None = None
        self._opening = threading.Lock()
        try:
            operator = self._operator()
        except (ConfigInvalid, Unsupported) as error:
            raise ConfigError(f"{key}.url: {_first_words(error)}") from None
        self._can = operator.capability()
        if not (self._can.read and self._can.write and self._can.stat and self._can.delete and self._can.list):
            raise ConfigError(f"{key}.url: {self._service} cannot write, list and remove; choose another store")
        if self._service not in _TRIED:
            _log.warning("%s: %s is untried: nobody has run these workers with it yet", key, self._service)
        if not (self._can.rename or self._can.copy):
            _log.warning("%s: %s names nothing anew: a late upload may replace a newer one", key, self._service)
        self._check(operator, key)

    def put(self, name: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
        check_name(name)
        with _errors_as_ours(), progress.working():
            operator = self._operator()
            operator.remove_all(unfinished_folder(name))
            unfinished = unfinished_name(name)
            try:
                self._send(operator, unfinished, content, content_type, progress)
                progress.moved(0)
                self._name(operator, unfinished, name)
            finally:
                with suppress(Exception):  # a later put, or a sweep, takes it away
                    operator.remove_all(unfinished_folder(name))
            return _stat(operator, name).version

    def stat(self, name: str) -> Stat | None:
        check_name(name)
        with _errors_as_ours(), suppress(FileNotFoundError, NotFound):
            return _stat(self._operator(), name)
        return None

    @contextmanager
    def open(
        self, name: str, progress: Progress = UNWATCHED, max_bytes: int | None = None
    ) -> Iterator[tuple[BinaryIO, str]]:
        check_name(name)
        with _errors_as_ours():
            operator = self._operator()
            found = _stat(operator, name)
        check_size(name, found.size, max_bytes)
        with self._scratch.file(found.size, progress) as file:
            with _errors_as_ours():
                self._receive(operator, name, found, file, progress)
            file.seek(0)
            yield file, found.version

    def remove(self, name: str, version: str | None = None) -> bool:
        check_name(name)
        with _errors_as_ours():
            operator = self._operator()
            if version is None:
                operator.remove_all(unfinished_folder(name))
            try:
                found = operator.stat(name)
            except NotFound:
                return False
            if version not in (None, _version(found)):
                return False
            compared = found.etag if version and self._service in _COMPARES_ON_REMOVAL else None
            with suppress(ConditionNotMatch):
                operator.delete(name, if_match=compared)
                return True
        return False

    def discard(self, unfinished: Entry) -> None:
        with _errors_as_ours():
            self._operator().delete(unfinished.name)

    def _operator(self) -> opendal.Operator:
        """With the key that is in the file now."""
        with self._opening:
            keys, is_newer = self._keys.read() if self._keys else ({}, False)
            if self._opened is None or is_newer:
                self._check_options(keys)
                operator = opendal.Operator.from_uri(self._config.url, **keys)
                content_s = min(self._send_s, _PART_S) if operator.capability().write_can_multi else self._send_s
                self._opened = operator.layer(TimeoutLayer(timeout=self._timeout_s, io_timeout=content_s))
            return self._opened

    def _check_options(self, keys: dict[str, str]) -> None:
        known = _known_options(self._service)
        said = dict(parse_qsl(urlsplit(self._config.url).query, keep_blank_values=True))
        for options, where in ((said, self._config.url), (keys, self._config.key_file)):
            for name in options:
                if known and name not in known:
                    raise ConfigError(f"{where}: {self._service} has no option {name}{nearest(name, sorted(known))}")

    def _check(self, operator: opendal.Operator, key: str) -> None:
        try:
            operator.check()
        except _ERRORS as error:
            said = f"{key}: {self._config.url} cannot be used: {_first_words(error)}"
            if "(temporary)" in said:
                raise Unavailable(said) from None
            raise ConfigError(f"{said}; check the url, the keys and their rights, and this machine's clock") from None

    def _send(
        self, operator: opendal.Operator, path: str, content: BinaryIO, content_type: str, progress: Progress
    ) -> None:
        options: WriteKwargs = {}
        if self._can.write_with_content_type:
            options["content_type"] = content_type
        if self._can.write_with_cache_control and self._config.cache_control:
            options["cache_control"] = self._config.cache_control
        if not self._can.write_can_multi:  # OpenDAL takes it in one piece, and so in memory
            whole = content.read()
            operator.write(path, whole, **options)
            progress.moved(len(whole))
            return
        options["chunk"] = max(_UPLOAD_PART_BYTES, self._can.write_multi_min_size or 0)
        with operator.open(path, "wb", **options) as file:
            while part := content.read(PART_BYTES):
                file.write(part)
                progress.moved(len(part))

    def _name(self, operator: opendal.Operator, unfinished: str, name: str) -> None:
        if self._can.rename:
            operator.rename(unfinished, name)
        elif self._can.copy:
            operator.copy(unfinished, name)
        else:
            operator.write(name, operator.read(unfinished))

    def _receive(
        self, operator: opendal.Operator, name: str, found: Stat, target: BinaryIO, progress: Progress
    ) -> None:
        received = 0
        with operator.open(name, "rb") as file:
            while True:
                with progress.working():
                    part = file.read(PART_BYTES)
                if not part:
                    break
                received += len(part)
                target.write(part[: found.size])
                progress.moved(len(part))
        if received != found.size or _stat(operator, name) != found:
            raise OSError(f"{name!r} was written anew while it was read")

    def listed(self, folder: str) -> Iterator[Entry]:
        with _errors_as_ours(), suppress(NotFound):
            for each in self._operator().list(folder, recursive=True):
                if each.metadata.is_file:
                    modified = each.metadata.last_modified
                    yield Entry(each.path, each.metadata.content_length, modified.timestamp() if modified else 0.0)


def _known_options(service: str) -> set[str]:
    """The names that OpenDAL takes for this service. It would pass over any other without a word."""
    for kind in vars(opendal.config).values():
        options: dict[str, object] = getattr(kind, "__annotations__", {})
        if re.search(rf"['\"]{service}['\"]", str(options.get("scheme"))):
            return set(options) - {"scheme"}
    return set()


def _stat(operator: opendal.Operator, name: str) -> Stat:
    found = operator.stat(name)
    return Stat(found.content_length, _version(found))


def _version(found: opendal.types.Metadata) -> str:
    return found.etag or f"{found.last_modified}-{found.content_length}"


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    """Without OpenDAL's own as their cause: they are pages long."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(_first_words(error)) from None
    except PermissionDenied as error:
        raise PermissionError(_first_words(error)) from None
    except (exceptions.IsADirectory, exceptions.NotADirectory) as error:
        raise Refused(_first_words(error)) from None
    except ConfigError as error:  # of a file of keys that is being exchanged
        raise OSError(str(error)) from None
    except _ERRORS as error:
        raise OSError(_first_words(error)) from None


def _first_words(error: Exception) -> str:
    """What happened, and why; not the request and the answer, which stand between."""
    happened, _, rest = str(error).partition("\n\nContext:")
    why = re.search(r"\nSource:\s*(.+?)\s*(?:\n\n|\Z)", rest, re.DOTALL)
    return " ".join(f"{happened.split('Backtrace:')[0]} {why[1] if why else ''}".split())[:_REASON_CHARACTERS]
