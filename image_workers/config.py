"""The keys of the configuration file. All of it is checked before anything is started, made or connected.

The keys are those of the original image workers, so that their files go on working, and a few more; the example
configuration explains each. Every key but the name of a resize function has a default. A key that is not known is an
error, since a misspelt one would otherwise quietly do nothing.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from image_workers.decoder import Limits
from image_workers.errors import ConfigError
from image_workers.guetzli import MIN_QUALITY
from image_workers.names import MAX_NAME_BYTES, Layout
from image_workers.values import (
    REQUIRED,
    Section,
    boolean,
    duration,
    folder,
    integer,
    megapixels,
    read_document,
    secret,
    text,
    url,
)

Enabled = Literal["here", "elsewhere", "off"]
"""Who runs a step: this worker, another one, or nobody. A step that nobody runs is not submitted."""

Strip = Literal["no", "gps", "all"]
"""What is taken out of originals before they are published."""

_FIXED_FUNCTIONS = ("save", "upload", "upload-next-guetzli", "guetzli", "upload-next-remove", "remove")
_ENDPOINT = re.compile(r"(https?://)?([A-Za-z0-9.-]+(?::\d+)?)/?")
_ENDPOINT_OF_REGION = re.compile(r"https?://oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_VENDORS = re.compile(r"\.aliyuncs\.com(:\d+)?$")
_TOKEN_VARIABLE = "OSS_SESSION_TOKEN"  # noqa: S105 - its name, as the vendor's tools have it
_ACLS = ("default", "private", "public-read", "public-read-write")
_WAIT_AT_START_MS = 60_000
_DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class ResizeConfig:
    """A resize function: `width` in pixels, `output` below root, `quality` of the JPEG from 1 to 100."""

    func: str
    width: int
    output: str
    suffix: str
    quality: int


@dataclass(frozen=True, slots=True)
class GuetzliConfig:
    """`memlimit_mb` and `time_limit_s` hold for one run; a picture of more than `max_pixels` gets none."""

    output: str
    lock_name: str | None
    lock_count: int
    verbose: bool
    quality: int
    memlimit_mb: int
    max_pixels: int
    time_limit_s: int


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """Objects are files below `directory`/`root_path`."""

    directory: Path
    root_path: str


@dataclass(frozen=True, slots=True)
class OssConfig:
    """Objects are those of the OSS bucket `name`, below `root_path`. `region` is only `None` with signature v1."""

    access_id: str
    access_key: str = field(repr=False)
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
    root_path: str


BucketConfig = DirectoryConfig | OssConfig


@dataclass(frozen=True, slots=True)
class Config:
    """What the file said, with the defaults filled in. `url` is `None` for the client library's default."""

    url: str | None
    thread: int
    root: Path
    save: Enabled
    remove: Enabled
    guetzli: Enabled
    guetzli_run: GuetzliConfig
    resizes: tuple[ResizeConfig, ...]
    bucket: BucketConfig
    cache_ms: int
    max_pixels: int
    max_bytes: int
    decoding: Limits
    layout: Layout
    compress_originals: bool
    strip: Strip


def load(path: Path) -> Config:
    """The configuration in the file. Raises `ConfigError`, which names the file and the key."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text in UTF-8: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(yaml_text: str) -> Config:
    """The configuration in a YAML text. Raises `ConfigError`, which names the key."""
    top = read_document(yaml_text)
    quality = top.take("quality", 80, integer(1, 100))
    resizes = tuple(_resize(section, quality) for section in top.sections("resizes"))
    guetzli = _guetzli(top.section("guetzli"))
    config = Config(
        url=top.take("periodic", None, url),
        thread=top.take("thread", 2, integer(1, 1000)),
        root=Path(top.take("root", "images", text)),
        save="here" if top.take("enable-save", False, boolean) else "off",
        remove=top.take("enable-remove", "off", _enabled),
        guetzli=top.take("enable-guetzli", "off", _enabled),
        guetzli_run=guetzli,
        resizes=resizes,
        bucket=_bucket(top.section("bucket")),
        cache_ms=top.take("cache", 5 * _DAY_S * 1000, duration(1, 3650 * _DAY_S)),
        max_pixels=top.take("max-megapixels", 64_000_000, megapixels(1000)),
        max_bytes=top.take("max-megabytes", 64, integer(1, 1024)) * 1_000_000,
        decoding=_decoding(top.section("decoding")),
        layout=_layout(guetzli, resizes),
        compress_originals=top.take("compress-originals", False, boolean),
        strip=top.take("strip-originals", "no", _strip),
    )
    top.finish()
    if isinstance(config.bucket, DirectoryConfig):
        _check_separate(config.root.resolve(), config.bucket.directory.resolve())
    return config


def _resize(section: Section, default_quality: int) -> ResizeConfig:
    resize = ResizeConfig(
        func=section.take("func", REQUIRED, _function),
        width=section.take("width", 100, integer(1, 16_384)),
        output=section.take("output", "resize-image", folder),
        suffix=section.take("suffix", "_fw100.jpg", _suffix),
        quality=section.take("quality", default_quality, integer(1, 100)),
    )
    section.finish()
    return resize


def _decoding(section: Section) -> Limits:
    default = Limits()
    limits = Limits(
        memory_bytes=section.take("memory-megabytes", default.memory_bytes // 10**6, integer(100, 1_000_000)) * 10**6,
        cpu_seconds=section.take("cpu-seconds", default.cpu_seconds, integer(1, 3600)),
        seconds=section.take("seconds", default.seconds, integer(1, 3600)),
    )
    section.finish()
    return limits


def _guetzli(section: Section) -> GuetzliConfig:
    guetzli = GuetzliConfig(
        output=section.take("output", "guetzli", folder),
        lock_name=section.take("lock-name", None, text),
        lock_count=section.take("lock-count", 1, integer(1, 1000)),
        verbose=section.take("verbose", 0, integer(0, 1)) == 1,
        quality=section.take("quality", 95, integer(MIN_QUALITY, 100)),
        memlimit_mb=section.take("memlimit_mb", 6000, integer(100, 1_000_000)),
        max_pixels=section.take("max-megapixels", 2_000_000, megapixels(1000)),
        time_limit_s=section.take("time-limit", 600_000, duration(1, 20 * 3600)) // 1000,
    )
    section.finish()
    return guetzli


def _bucket(section: Section) -> BucketConfig:
    root_path = section.take("root_path", "", _root_path)
    directory = section.take("directory", None, text)
    oss = {
        "access_id": section.take("access_id", None, secret),
        "access_key": section.take("access_key", None, secret),
        "name": section.take("name", None, _bucket_name),
        "endpoint": section.take("endpoint", None, _endpoint),
        "region": section.take("region", None, _region),
        "signature": section.take("signature", None, _signature),
        "security_token": section.take("security_token", None, secret),
        "own_domain": section.take("own-domain", None, boolean),
        "cache_control": section.take("cache-control", None, _header),
        "object_acl": section.take("object-acl", None, _acl),
        "wait_s": section.take("wait-at-start", None, duration(1, 3600)),
    }
    section.finish()
    given = [key for key, value in oss.items() if value is not None]
    if given and directory is not None:
        raise ConfigError(
            f"{section.where('directory')}: a bucket is either a directory or one of OSS; "
            f"remove this key, or {', '.join(given)}"
        )
    return _oss(section, oss, root_path) if given else DirectoryConfig(Path(directory or "bucket"), root_path)


def _oss(section: Section, values: dict[str, Any], root_path: str) -> OssConfig:
    key_from_environment = values["access_id"] is None  # a token belongs to its key
    for key, variable in (("access_id", "OSS_ACCESS_KEY_ID"), ("access_key", "OSS_ACCESS_KEY_SECRET")):
        if values[key] is None and variable in os.environ:
            values[key] = secret(os.environ[variable], variable)
        if values[key] is None:
            raise ConfigError(f"{section.where(key)}: is missing; give it, or set the environment variable {variable}")
    for key in ("name", "endpoint"):
        if values[key] is None:
            raise ConfigError(f"{section.where(key)}: is missing")
    if values["security_token"] is None and key_from_environment and _TOKEN_VARIABLE in os.environ:
        values["security_token"] = secret(os.environ[_TOKEN_VARIABLE], _TOKEN_VARIABLE)
    values["signature"] = values["signature"] or "v4"
    values["own_domain"] = values["own_domain"] or False
    values["wait_s"] = (values["wait_s"] or _WAIT_AT_START_MS) // 1000
    if values["own_domain"] and _VENDORS.search(values["endpoint"]):
        raise ConfigError(f"{section.where('own-domain')}: {values['endpoint']} is the vendor's; leave this key out")
    if values["region"] is None and (match := _ENDPOINT_OF_REGION.fullmatch(values["endpoint"])):
        values["region"] = match[1]
    if values["region"] is None and values["signature"] == "v4":
        raise ConfigError(
            f"{section.where('region')}: is missing, and {values['endpoint']} does not tell it; "
            "give it, as in cn-hangzhou, or set signature: v1, which needs none"
        )
    return OssConfig(**values, root_path=root_path)


def _layout(guetzli: GuetzliConfig, resizes: tuple[ResizeConfig, ...]) -> Layout:
    for key in ("func", "suffix"):
        values = [getattr(resize, key) for resize in resizes]
        for index, value in enumerate(values):
            if (first := values.index(value)) < index:
                raise ConfigError(f"resizes[{index}].{key}: {value!r} is that of resizes[{first}]; give each its own")
    return Layout(guetzli.output, {resize.suffix: resize.output for resize in resizes})


def _check_separate(root: Path, bucket: Path) -> None:
    if root.is_relative_to(bucket) or bucket.is_relative_to(root):
        raise ConfigError(f"bucket.directory: {bucket} and root, {root}, must not be inside one another")


def _enabled(value: Any, where: str) -> Enabled:
    if isinstance(value, bool):
        return "here" if value else "off"
    if value != "elsewhere":
        raise ConfigError(f"{where}: must be true, false or elsewhere, not {value!r}")
    return "elsewhere"


def _strip(value: Any, where: str) -> Strip:
    if value is False:  # which `no` is in YAML
        return "no"
    if value not in ("no", "gps", "all"):
        raise ConfigError(f"{where}: must be no, gps or all, not {value!r}")
    return value  # type: ignore[no-any-return]


def _function(value: Any, where: str) -> str:
    if len(text(value, where).encode()) > MAX_NAME_BYTES:
        raise ConfigError(f"{where}: is longer than {MAX_NAME_BYTES} bytes")
    if value in _FIXED_FUNCTIONS:
        raise ConfigError(f"{where}: {value} is a function of its own; choose another name, such as resize-{value}")
    return str(value)


def _suffix(value: Any, where: str) -> str:
    if "/" in folder(value, where):
        raise ConfigError(f"{where}: {value!r} contains a /; a folder goes into output")
    return str(value)


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


def _acl(value: Any, where: str) -> str:
    if value not in _ACLS:
        raise ConfigError(f"{where}: must be {', '.join(_ACLS[:-1])} or {_ACLS[-1]}, not {value!r}")
    return str(value)


def _signature(value: Any, where: str) -> str:
    if value not in ("v4", "v1"):
        raise ConfigError(f"{where}: must be v4 or v1, not {value!r}")
    return str(value)
