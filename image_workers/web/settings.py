"""What the configuration says of `image-workers serve`. Nothing is opened here, and no token is read."""

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from image_workers import values
from image_workers.errors import ConfigError
from image_workers.values import Read, text

_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_PORT_MAX = 65_535


def _listen(value: Any, where: str) -> str:
    match = _LISTEN.fullmatch(text(value, where))
    if match is None or int(match[2]) > _PORT_MAX:
        raise ConfigError(f"{where}: must be an address and a port as in 127.0.0.1:8080 or [::1]:8080, not {value!r}")
    return str(value)


def _public_url(value: Any, where: str) -> str:
    parts = urlsplit(text(value, where))
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{where}: must be a url as in https://pictures.example.com/photos, not {value!r}")
    return str(value).rstrip("/")


def _path(value: Any, where: str) -> Path:
    return Path(text(value, where))


class Rate(Struct, frozen=True, rename="kebab"):
    """How much may come in; a minute's uploads and an hour's bytes may come at once."""

    uploads_a_minute: Annotated[int, Meta(ge=1, le=100_000)]
    megabytes_an_hour: Annotated[int, Meta(ge=1, le=10_000_000)]


class AddressRate(Rate, frozen=True, rename="kebab"):
    uploads_a_minute: Annotated[int, Meta(ge=1, le=100_000)] = 60
    megabytes_an_hour: Annotated[int, Meta(ge=1, le=10_000_000)] = 1000


class TotalRate(Rate, frozen=True, rename="kebab"):
    uploads_a_minute: Annotated[int, Meta(ge=1, le=100_000)] = 600
    megabytes_an_hour: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000


class ServeConfig(Struct, frozen=True, rename="kebab"):
    """Where it listens, what it lets in, and how much at once."""

    listen: Annotated[str, Read(_listen)] = "127.0.0.1:8080"
    folder: Annotated[str, Read(values.folder)] = "uploads"
    """Below root; names of uploads are our own."""
    token_file: Annotated[Path | None, Read(_path)] = None
    public_url: Annotated[str | None, Read(_public_url)] = None
    """Where the bucket's `root_path` is to be seen."""
    forwarded: bool = False
    """Whether the address of who asks is the last of X-Forwarded-For."""
    per_address: AddressRate = AddressRate()
    total: TotalRate = TotalRate()
    uploads_at_once: Annotated[int, Meta(ge=1, le=1000)] = 8
    listeners: Annotated[int, Meta(ge=1, le=10_000)] = 200
    connections: Annotated[int, Meta(ge=2, le=100_000)] = 1000

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])
