"""The keys of the configuration file. All of it is checked before anything is started, made or connected.

The keys are those of the original image workers, so that their files go on working, and a few more; the example
configuration explains each. Every key has a default. A key that is not known is an error, since a misspelt one would
otherwise quietly do nothing.
"""

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from image_workers.decoder import Limits
from image_workers.errors import ConfigError
from image_workers.guetzli import MIN_QUALITY
from image_workers.making.forms import WHITE, Colour, Fit, Form, Format, Recipe
from image_workers.names import MAX_NAME_BYTES, Layout, type_of_name
from image_workers.values import (
    Read,
    daemon,
    duration,
    folder,
    megapixels,
    place,
    read_document,
    secret,
    section,
    text,
)

Enabled = Literal["here", "elsewhere", "off"]
"""Who runs a step: this worker, another one, or nobody. A step that nobody runs is not submitted."""

Strip = Literal["no", "gps", "all"]
"""What is taken out of originals before they are published."""

Quality = Annotated[int, Meta(ge=1, le=100)]

Encoder = Literal["jpegli", "guetzli", "pillow"]
"""What makes the JPEGs: jpegli or Pillow at once, or guetzli in a step of its own, after Pillow."""

_FIXED_FUNCTIONS = (
    "save", "upload", "upload-next-compress", "upload-next-guetzli", "compress", "guetzli", "upload-next-remove",
    "remove",
)  # fmt: skip
_ORIGINALS_KEYS = ("enable-guetzli", "guetzli")
_RESIZE = "resize"
_FORMATS: dict[str, Format] = {
    "image/jpeg": "jpeg", "image/webp": "webp", "image/avif": "avif", "image/png": "png",
}  # fmt: skip
_ENDINGS: dict[Format, str] = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png"}
_QUALITY, _JPEGLI_QUALITY, _AVIF_QUALITY = 80, 84, 65
"""The last two look like the first or a little better; AVIF counts otherwise, so it has its own."""
_ENDPOINT = re.compile(r"(https?://)?([A-Za-z0-9.-]+(?::\d+)?)/?")
_ENDPOINT_OF_REGION = re.compile(r"https?://oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_VENDORS = re.compile(r"\.aliyuncs\.com(:\d+)?$")
_TOKEN_VARIABLE = "OSS_SESSION_TOKEN"  # noqa: S105 - its name, as the vendor's tools have it
_WAIT_AT_START_MS = 60_000
_DAY_S = 24 * 3600
_DECODING = Limits()


# -- kinds of values ---------------------------------------------------------------------------------------------------


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


def _save(value: Any, where: str) -> Enabled:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: must be true or false, not {value!r}")
    return "here" if value else "off"


def _path(value: Any, where: str) -> Path:
    return Path(text(value, where))


def _function(value: Any, where: str) -> str:
    if len(text(value, where).encode()) > MAX_NAME_BYTES:
        raise ConfigError(f"{where}: is longer than {MAX_NAME_BYTES} bytes")
    if value in _FIXED_FUNCTIONS:
        raise ConfigError(f"{where}: {value} is a function of its own; choose another name, such as resize-{value}")
    return str(value)


def _colour(value: Any, where: str) -> Colour:
    match = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text(value, where))
    if match is None:
        raise ConfigError(f"{where}: must be a colour as in '#ffffff' (in quotes), not {value!r}")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


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


# -- the sections ------------------------------------------------------------------------------------------------------


class ResizeConfig(Struct, frozen=True):
    """A thumbnail: `width` and `height` in pixels, `output` below root, `quality` of its encoder from 1 to 100.

    Those of one `func` are made in one job, from one decoding.
    """

    func: Annotated[str, Read(_function)] = _RESIZE
    width: Annotated[int, Meta(ge=1, le=16_384)] = 100
    output: Annotated[str, Read(folder)] = "resize-image"
    suffix: Annotated[str, Read(_suffix)] = ""
    """In the file: what follows from width and format takes the place of nothing."""
    quality: Quality = 0
    """In the file: that of all, or of the format, which takes the place of 0."""
    height: Annotated[int, Meta(ge=1, le=16_384)] | None = None
    fit: Fit = "fit"
    format: Format | None = None
    """In the file: that of the suffix, which takes the place of None."""

    @property
    def form(self) -> Form:
        return Form(self.width, self.height, self.fit, self.format or "jpeg", self.quality)


class GuetzliConfig(
    Struct,
    frozen=True,
    rename={
        "lock_name": "lock-name", "lock_count": "lock-count", "max_pixels": "max-megapixels",
        "time_limit_ms": "time-limit",
    },
):  # fmt: skip
    """`memlimit_mb` and `time_limit_ms` hold for one run; a picture of more than `max_pixels` gets none."""

    output: Annotated[str, Read(folder)] = "guetzli"
    lock_name: Annotated[str | None, Read(text)] = None
    lock_count: Annotated[int, Meta(ge=1, le=1000)] = 1
    verbose: Annotated[int, Meta(ge=0, le=1)] = 0
    quality: Annotated[int, Meta(ge=MIN_QUALITY, le=100)] = 95
    memlimit_mb: Annotated[int, Meta(ge=100, le=1_000_000)] = 6000
    max_pixels: Annotated[int, megapixels(1000)] = 2_000_000
    time_limit_ms: Annotated[int, duration(1, 20 * 3600)] = 600_000

    @property
    def time_limit_s(self) -> int:
        return self.time_limit_ms // 1000


class DecodingConfig(Struct, frozen=True, rename="kebab"):
    """Of all that are decoded at once, and of one picture."""

    memory_megabytes: Annotated[int, Meta(ge=100, le=1_000_000)] = _DECODING.memory_bytes // 10**6
    cpu_seconds: Annotated[int, Meta(ge=1, le=3600)] = _DECODING.cpu_seconds
    seconds: Annotated[int, Meta(ge=1, le=3600)] = _DECODING.seconds


class BucketKeys(
    Struct,
    frozen=True,
    rename={
        "own_domain": "own-domain", "cache_control": "cache-control", "object_acl": "object-acl",
        "wait_ms": "wait-at-start",
    },
):  # fmt: skip
    """Those of a folder and those of OSS."""

    root_path: Annotated[str, Read(_root_path)] = ""
    directory: Annotated[str | None, Read(text)] = None
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

    def __repr__(self) -> str:
        return "BucketKeys(...)"  # there are secrets among them


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


def _bucket(value: Any, where: str) -> BucketConfig:
    keys = asdict(section(value, BucketKeys, where))
    root_path, directory = keys.pop("root_path"), keys.pop("directory")
    names = dict(zip(BucketKeys.__struct_fields__, BucketKeys.__struct_encode_fields__, strict=True))
    given = [names[key] for key, value in keys.items() if value is not None]
    if given and directory is not None:
        raise ConfigError(
            f"{place(where, 'directory')}: a bucket is either a directory or one of OSS; "
            f"remove this key, or {', '.join(given)}"
        )
    return _oss(keys, root_path, where) if given else DirectoryConfig(Path(directory or "bucket"), root_path)


def _oss(values: dict[str, Any], root_path: str, where: str) -> OssConfig:
    key_from_environment = values["access_id"] is None  # a token belongs to its key
    for key, variable in (("access_id", "OSS_ACCESS_KEY_ID"), ("access_key", "OSS_ACCESS_KEY_SECRET")):
        if values[key] is None and variable in os.environ:
            values[key] = secret(os.environ[variable], variable)
        if values[key] is None:
            raise ConfigError(f"{place(where, key)}: is missing; give it, or set the environment variable {variable}")
    for key in ("name", "endpoint"):
        if values[key] is None:
            raise ConfigError(f"{place(where, key)}: is missing")
    if values["security_token"] is None and key_from_environment and _TOKEN_VARIABLE in os.environ:
        values["security_token"] = secret(os.environ[_TOKEN_VARIABLE], _TOKEN_VARIABLE)
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


class Config(
    Struct,
    frozen=True,
    kw_only=True,
    rename={
        "url": "periodic", "save": "enable-save", "remove": "enable-remove", "compress": "enable-compress",
        "original_compress": "enable-guetzli", "encoder_said": "encoder", "guetzli_run": "guetzli",
        "bucket_section": "bucket", "cache_ms": "cache",
        "max_pixels": "max-megapixels", "max_megabytes": "max-megabytes",
        "decoding_keys": "decoding", "compress_originals": "compress-originals", "strip": "strip-originals",
    },
):  # fmt: skip
    """What the file says, with the defaults filled in. `url` is `None` for the client library's default."""

    url: Annotated[str | None, Read(daemon)] = None
    thread: Annotated[int, Meta(ge=1, le=1000)] = 2
    root: Annotated[Path, Read(_path)] = Path("images")
    save: Annotated[Enabled, Read(_save)] = "off"
    remove: Annotated[Enabled, Read(_enabled)] = "off"
    compress: Annotated[Enabled, Read(_enabled)] = "off"
    original_compress: Annotated[Enabled | None, Read(_enabled)] = None
    """The original's name for the same; `compress` is what counts."""
    encoder_said: Encoder | None = None
    """In the file: `encoder` is what counts."""
    guetzli_run: GuetzliConfig = GuetzliConfig()
    quality: Quality = 0
    """In the file: that of the encoder takes the place of 0."""
    background: Annotated[Colour, Read(_colour)] = WHITE
    linear: bool = False
    resizes: tuple[ResizeConfig, ...] = ()
    bucket_section: Annotated[Any, Read(_bucket)] = DirectoryConfig(Path("bucket"), "")
    cache_ms: Annotated[int, duration(1, 3650 * _DAY_S)] = 5 * _DAY_S * 1000
    max_pixels: Annotated[int, megapixels(1000)] = 64_000_000
    max_megabytes: Annotated[int, Meta(ge=1, le=1024)] = 64
    decoding_keys: DecodingConfig = DecodingConfig()
    compress_originals: bool = False
    strip: Annotated[Strip, Read(_strip)] = "no"

    @property
    def bucket(self) -> BucketConfig:
        return self.bucket_section  # type: ignore[no-any-return]  # msgspec has no union of two dataclasses

    @property
    def max_bytes(self) -> int:
        return self.max_megabytes * 1_000_000

    @property
    def decoding(self) -> Limits:
        keys = self.decoding_keys
        return Limits(keys.memory_megabytes * 10**6, keys.cpu_seconds, keys.seconds)

    @property
    def encoder(self) -> Encoder:
        return self.encoder_said or "jpegli"

    @property
    def groups(self) -> dict[str, tuple[ResizeConfig, ...]]:
        """The functions that make thumbnails, and what each makes."""
        funcs = dict.fromkeys(each.func for each in self.resizes)
        return {func: tuple(each for each in self.resizes if each.func == func) for func in funcs}

    def recipe(self, resizes: tuple[ResizeConfig, ...]) -> Recipe:
        encoder = "pillow" if self.encoder == "guetzli" else self.encoder
        return Recipe(tuple(each.form for each in resizes), encoder, self.background, self.linear)

    @property
    def layout(self) -> Layout:
        return _layout(self.guetzli_run.output, self.resizes)


# -- the file ----------------------------------------------------------------------------------------------------------


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
    document = read_document(yaml_text)
    said = section(document, Config)
    encoder = said.encoder_said or ("guetzli" if _is_the_original_s(document) else "jpegli")
    quality = said.quality or (_JPEGLI_QUALITY if encoder == "jpegli" else _QUALITY)
    config = replace(
        said,
        compress=_compress(said),
        encoder_said=encoder,
        quality=quality,
        resizes=tuple(_resize(each, document["resizes"][at], at, quality) for at, each in enumerate(said.resizes)),
    )
    _check_encoder(config, said.encoder_said)
    _layout(config.guetzli_run.output, config.resizes)
    if isinstance(config.bucket, DirectoryConfig):
        _check_separate(config.root.resolve(), config.bucket.directory.resolve())
    return config


def _is_the_original_s(document: Any) -> bool:
    """Whether the file says what only the original's must, or could: then guetzli is its encoder."""
    keys = document or {}
    return any(key in keys for key in _ORIGINALS_KEYS) or any("func" in each for each in keys.get("resizes") or ())


def _compress(said: Config) -> Enabled:
    if said.original_compress is None:
        return said.compress
    if said.compress != "off":
        raise ConfigError("enable-guetzli: is the original's name of enable-compress; remove one of the two")
    return said.original_compress


def _check_encoder(config: Config, said: Encoder | None) -> None:
    if said == "guetzli" and config.compress == "off":
        raise ConfigError("encoder: guetzli works in a step of its own; set enable-compress: true, or elsewhere")
    if config.encoder == "pillow" and config.compress_originals:
        raise ConfigError("compress-originals: pillow cannot do that; set encoder: jpegli, which loses nothing of them")


def _resize(resize: ResizeConfig, entry: Any, at: int, quality: int) -> ResizeConfig:
    """The entry with what follows from the rest of it and from the file."""
    where = f"resizes[{at}]"
    if resize.fit != "fit" and resize.height is None:
        raise ConfigError(f"{where}.height: is missing; fit: {resize.fit} needs both sides")
    kind = type_of_name(f"x{resize.suffix}") if resize.suffix else None
    if kind is not None and kind not in _FORMATS:
        raise ConfigError(f"{where}.suffix: {resize.suffix!r} is that of {kind}; use .jpg, .webp, .avif or .png")
    told = _FORMATS[kind] if kind else None
    if told and resize.format and told != resize.format:
        raise ConfigError(f"{where}.suffix: {resize.suffix!r} is that of {told}, but format says {resize.format}")
    made: Format = resize.format or told or "jpeg"
    # The original's default says 100 whatever the width is.
    suffix = resize.suffix or ("_fw100.jpg" if "func" in entry else f"_fw{resize.width}.{_ENDINGS[made]}")
    return replace(
        resize, suffix=suffix, format=made, quality=resize.quality or (_AVIF_QUALITY if made == "avif" else quality)
    )


@lru_cache(maxsize=16)
def _layout(compressed_folder: str, resizes: tuple[ResizeConfig, ...]) -> Layout:
    suffixes = [resize.suffix for resize in resizes]
    for index, suffix in enumerate(suffixes):
        if (first := suffixes.index(suffix)) < index:
            raise ConfigError(f"resizes[{index}].suffix: {suffix!r} is that of resizes[{first}]; give each its own")
    return Layout(compressed_folder, {resize.suffix: resize.output for resize in resizes})


def _check_separate(root: Path, bucket: Path) -> None:
    if root.is_relative_to(bucket) or bucket.is_relative_to(root):
        raise ConfigError(f"bucket.directory: {bucket} and root, {root}, must not be inside one another")
