"""What the configuration says of a store: a folder, a bucket of Aliyun OSS, or the URL of what OpenDAL speaks.

`root` and `bucket` are read by the same rules. Nothing is opened here, and no file of keys is read: that is done when
the store is, so `parse` needs neither network nor secrets.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct
from msgspec.structs import asdict

from image_workers.errors import ConfigError
from image_workers.values import Read, duration, folder, place, secret, section, text

_ENDPOINT = re.compile(r"(https?://)?([A-Za-z0-9.-]+(?::\d+)?)/?")
_ENDPOINT_OF_REGION = re.compile(r"https?://oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_VENDORS = re.compile(r"\.aliyuncs\.com(:\d+)?$")
_TOKEN_VARIABLE = "OSS_SESSION_TOKEN"  # noqa: S105 - its name, as the vendor's tools have it
_WAIT_AT_START_MS = 60_000
_SECRETS = re.compile(r"secret|password|token|access_key|account_key|access_id|sas|sign", re.IGNORECASE)
"""What of OpenDAL's options is a key, or a part of one."""


# -- kinds of values ---------------------------------------------------------------------------------------------------


def _root_path(value: Any, where: str) -> str:
    path = text(value, where).strip("/")
    return folder(path, where) if path else ""


def _bucket_name(value: Any, where: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", text(value, where)):
        raise ConfigError(f"{where}: must be 3 to 63 small letters, digits and inner hyphens, not {value!r}")
    return str(value)


def _endpoint(value: Any, where: str) -> str:
    match = _ENDPOINT.fullmatch(text(value, where))
    if match is None:
        raise ConfigError(f"{where}: must be a host, as in oss-cn-hangzhou.aliyuncs.com, or its url, not {value!r}")
    return (match[1] or "https://") + match[2]


def _region(value: Any, where: str) -> str:
    if not re.fullmatch(r"(?!oss-)[a-z0-9-]+", text(value, where)):
        raise ConfigError(f"{where}: must be a region as in cn-hangzhou, without oss-, not {value!r}")
    return str(value)


def _header(value: Any, where: str) -> str:
    if not re.fullmatch(r"[ -~]{1,1000}", text(value, where)):
        raise ConfigError(f"{where}: must be a text of ASCII characters, as in max-age=31536000, not {value!r}")
    return str(value)


def _url(value: Any, where: str) -> str:
    try:
        parts = urlsplit(text(value, where))
        has_password = parts.password is not None
    except ValueError as error:
        raise ConfigError(f"{where}: is no url: {error}") from None
    if not re.fullmatch(r"[a-z][a-z0-9-]*", parts.scheme) or parts.fragment:
        raise ConfigError(f"{where}: must be a url as in s3://BUCKET/FOLDER?region=eu-central-1")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRETS.search(name):
            raise ConfigError(f"{where}: {name} belongs into the file that key-file names, not into a url")
    if has_password:
        raise ConfigError(f"{where}: a password belongs into the file that key-file names, not into a url")
    return str(value)


def _path(value: Any, where: str) -> Path:
    return Path(text(value, where))


# -- the sections ------------------------------------------------------------------------------------------------------


class StoreKeys(
    Struct,
    frozen=True,
    rename={
        "own_domain": "own-domain", "cache_control": "cache-control", "object_acl": "object-acl",
        "wait_ms": "wait-at-start", "key_file": "key-file",
    },
):  # fmt: skip
    """Those of a folder, those of OSS, and those of what a url names."""

    root_path: Annotated[str, Read(_root_path)] = ""
    directory: Annotated[str | None, Read(text)] = None
    url: Annotated[str | None, Read(_url)] = None
    access_id: Annotated[str | None, Read(secret)] = None
    access_key: Annotated[str | None, Read(secret)] = None
    name: Annotated[str | None, Read(_bucket_name)] = None
    endpoint: Annotated[str | None, Read(_endpoint)] = None
    region: Annotated[str | None, Read(_region)] = None
    signature: Literal["v4", "v1"] | None = None
    security_token: Annotated[str | None, Read(secret)] = None
    own_domain: bool | None = None
    cache_control: Annotated[str | None, Read(_header)] = None
    object_acl: Literal["default", "private", "public-read", "public-read-write"] | None = None
    wait_ms: Annotated[int | None, duration(1, 3600)] = None
    key_file: Annotated[Path | None, Read(_path)] = None

    def __repr__(self) -> str:
        return "StoreKeys(...)"  # there are secrets among them


_OF_A_URL = ("url", "cache_control", "wait_ms", "key_file")


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """Files below `directory`/`root_path`."""

    directory: Path
    root_path: str

    @property
    def place(self) -> tuple[str, ...]:
        """What two stores must not share: each part is inside the one before it."""
        return ("folder", *self.directory.resolve().parts)


@dataclass(frozen=True, slots=True)
class OssConfig:
    """Objects are those of the OSS bucket `name`, below `root_path`. `region` is only `None` with signature v1.

    Either `key_file` has the key, or `access_id` and `access_key` are it.
    """

    access_id: str | None
    access_key: str | None = field(repr=False)
    name: str
    endpoint: str
    """With its scheme, as in `https://oss-cn-hangzhou.aliyuncs.com`."""
    region: str | None
    signature: Literal["v4", "v1"]
    security_token: str | None = field(repr=False)
    """Of a key that was lent for a while (STS)."""
    own_domain: bool
    """`endpoint` is a domain that leads to this bucket alone."""
    cache_control: str | None
    object_acl: str | None
    wait_s: int
    """How long to try at the start if it does not answer."""
    key_file: Path | None
    root_path: str

    @property
    def place(self) -> tuple[str, ...]:
        return ("oss", self.endpoint, self.name, *filter(None, self.root_path.split("/")))


@dataclass(frozen=True, slots=True)
class UrlConfig:
    """What OpenDAL reaches at `url`, which holds no secret; those are in `key_file`, by the names of its options."""

    url: str
    key_file: Path | None
    cache_control: str | None
    wait_s: int

    @property
    def place(self) -> tuple[str, ...]:
        parts = urlsplit(self.url)
        endpoint = dict(parse_qsl(parts.query)).get("endpoint", "")
        return (parts.scheme, parts.netloc, endpoint, *filter(None, parts.path.split("/")))


StoreConfig = DirectoryConfig | OssConfig | UrlConfig


def read_root(value: Any, where: str) -> StoreConfig:
    """A text is a folder, or a url; a mapping has the keys of a bucket."""
    if isinstance(value, dict):
        return read_store(value, where, "images")
    if "://" in text(value, where):
        return read_store({"url": value}, where, "")
    return DirectoryConfig(Path(text(value, where)), "")


def read_bucket(value: Any, where: str) -> StoreConfig:
    return read_store(value, where, "bucket")


def read_store(value: Any, where: str, default_directory: str) -> StoreConfig:
    keys = asdict(section(value, StoreKeys, where))
    names = dict(zip(StoreKeys.__struct_fields__, StoreKeys.__struct_encode_fields__, strict=True))
    if keys["url"] is not None:
        others = [names[key] for key, said in keys.items() if key not in _OF_A_URL and said not in (None, "")]
        if others:
            raise ConfigError(f"{place(where, 'url')}: is given, so remove {', '.join(others)}")
        return UrlConfig(
            keys["url"], keys["key_file"], keys["cache_control"], (keys["wait_ms"] or _WAIT_AT_START_MS) // 1000
        )
    del keys["url"]
    root_path, directory = keys.pop("root_path"), keys.pop("directory")
    given = [names[key] for key, said in keys.items() if said is not None]
    if given and directory is not None:
        raise ConfigError(
            f"{place(where, 'directory')}: a bucket is either a directory or one of OSS; "
            f"remove this key, or {', '.join(given)}"
        )
    return _oss(keys, root_path, where) if given else DirectoryConfig(Path(directory or default_directory), root_path)


def _oss(values: dict[str, Any], root_path: str, where: str) -> OssConfig:
    _take_keys(values, where)
    for key in ("name", "endpoint"):
        if values[key] is None:
            raise ConfigError(f"{place(where, key)}: is missing")
    values["signature"] = values["signature"] or "v4"
    values["own_domain"] = values["own_domain"] or False
    values["wait_s"] = (values.pop("wait_ms") or _WAIT_AT_START_MS) // 1000
    if values["own_domain"] and _VENDORS.search(values["endpoint"]):
        raise ConfigError(f"{place(where, 'own-domain')}: {values['endpoint']} is the vendor's; leave this key out")
    if values["region"] is None and (match := _ENDPOINT_OF_REGION.fullmatch(values["endpoint"])):
        values["region"] = match[1]
    if values["region"] is None and values["signature"] == "v4":
        raise ConfigError(
            f"{place(where, 'region')}: is missing, and {values['endpoint']} does not tell it; "
            "give it, as in cn-hangzhou, or set signature: v1, which needs none"
        )
    return OssConfig(**values, root_path=root_path)


def _take_keys(values: dict[str, Any], where: str) -> None:
    """The key from the file that holds it, from here, or from the environment."""
    keys = ("access_id", "access_key", "security_token")
    if values["key_file"] is not None:
        if given := [key for key in keys if values[key] is not None]:
            raise ConfigError(f"{place(where, 'key-file')}: holds the key, so remove {', '.join(given)}")
        return
    key_from_environment = values["access_id"] is None  # a token belongs to its key
    for key, variable in (("access_id", "OSS_ACCESS_KEY_ID"), ("access_key", "OSS_ACCESS_KEY_SECRET")):
        if values[key] is None and variable in os.environ:
            values[key] = secret(os.environ[variable], variable)
        if values[key] is None:
            raise ConfigError(
                f"{place(where, key)}: is missing; give it, or key-file, or set the environment variable {variable}"
            )
    if values["security_token"] is None and key_from_environment and _TOKEN_VARIABLE in os.environ:
        values["security_token"] = secret(os.environ[_TOKEN_VARIABLE], _TOKEN_VARIABLE)


def check_separate(root: StoreConfig, bucket: StoreConfig) -> None:
    """Raise `ConfigError` if one lies in the other: a job could then name the other's files."""
    one, other = root.place, bucket.place
    if one[: len(other)] == other or other[: len(one)] == one:
        key, names = "bucket", "it and root"
        if isinstance(bucket, DirectoryConfig) and isinstance(root, DirectoryConfig):
            key, names = "bucket.directory", f"{bucket.directory.resolve()} and root, {root.directory.resolve()},"
        raise ConfigError(f"{key}: {names} must not be inside one another")
