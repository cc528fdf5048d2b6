"""The keys of the configuration file. All of it is checked before anything is started, made or connected.

The keys are those of the original image workers, so that their files go on working, and a few more; the example
configuration explains each. Every key but the name of a resize function has a default. A key that is not known is an
error, since a misspelt one would otherwise quietly do nothing.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from image_workers.decoder import Limits
from image_workers.errors import ConfigError
from image_workers.guetzli import MIN_QUALITY
from image_workers.names import MAX_NAME_BYTES, Layout
from image_workers.stores.settings import DirectoryConfig, StoreConfig, check_separate, read_bucket, read_root
from image_workers.values import Read, daemon, duration, folder, megapixels, read_document, section, text

Enabled = Literal["here", "elsewhere", "off"]
"""Who runs a step: this worker, another one, or nobody. A step that nobody runs is not submitted."""

Strip = Literal["no", "gps", "all"]
"""What is taken out of originals before they are published."""

Quality = Annotated[int, Meta(ge=1, le=100)]

_FIXED_FUNCTIONS = ("save", "upload", "upload-next-guetzli", "guetzli", "upload-next-remove", "remove")
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


def _upload(value: Any, where: str) -> Enabled:
    if value is not True and value != "elsewhere":
        raise ConfigError(f"{where}: must be true or elsewhere, not {value!r}; a folder serves as the bucket too")
    return "here" if value is True else "elsewhere"


def _path(value: Any, where: str) -> Path:
    return Path(text(value, where))


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


# -- the sections ------------------------------------------------------------------------------------------------------


class ResizeConfig(Struct, frozen=True):
    """A resize function: `width` in pixels, `output` below root, `quality` of the JPEG from 1 to 100."""

    func: Annotated[str, Read(_function)]
    width: Annotated[int, Meta(ge=1, le=16_384)] = 100
    output: Annotated[str, Read(folder)] = "resize-image"
    suffix: Annotated[str, Read(_suffix)] = "_fw100.jpg"
    quality: Quality = 0
    """In the file: that of all, which takes the place of 0."""


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


class ScratchConfig(Struct, frozen=True):
    """Where files of a root that is no folder are while they are worked on, and how much of them at once."""

    folder: Annotated[Path | None, Read(_path)] = None
    megabytes: Annotated[int, Meta(ge=16, le=1_000_000)] = 1000


class Config(
    Struct,
    frozen=True,
    kw_only=True,
    rename={
        "url": "periodic", "save": "enable-save", "upload": "enable-upload", "remove": "enable-remove",
        "delete": "enable-delete",
        "guetzli": "enable-guetzli", "guetzli_run": "guetzli", "root_section": "root", "bucket_section": "bucket",
        "cache_ms": "cache", "upload_limit_ms": "upload-limit",
        "max_pixels": "max-megapixels", "max_megabytes": "max-megabytes",
        "decoding_keys": "decoding", "compress_originals": "compress-originals", "strip": "strip-originals",
    },
):  # fmt: skip
    """What the file says, with the defaults filled in. `url` is `None` for the client library's default."""

    url: Annotated[str | None, Read(daemon)] = None
    thread: Annotated[int, Meta(ge=1, le=1000)] = 2
    root_section: Annotated[Any, Read(read_root)] = DirectoryConfig(Path("images"), "")
    scratch: ScratchConfig = ScratchConfig()
    save: Annotated[Enabled, Read(_save)] = "off"
    upload: Annotated[Enabled, Read(_upload)] = "here"
    remove: Annotated[Enabled, Read(_enabled)] = "off"
    guetzli: Annotated[Enabled, Read(_enabled)] = "off"
    delete: bool = False
    guetzli_run: GuetzliConfig = GuetzliConfig()
    quality: Quality = 80
    resizes: tuple[ResizeConfig, ...] = ()
    bucket_section: Annotated[Any, Read(read_bucket)] = DirectoryConfig(Path("bucket"), "")
    upload_limit_ms: Annotated[int, duration(1, _DAY_S)] = 3_600_000
    cache_ms: Annotated[int, duration(1, 3650 * _DAY_S)] = 5 * _DAY_S * 1000
    max_pixels: Annotated[int, megapixels(1000)] = 64_000_000
    max_megabytes: Annotated[int, Meta(ge=1, le=1024)] = 64
    decoding_keys: DecodingConfig = DecodingConfig()
    compress_originals: bool = False
    strip: Annotated[Strip, Read(_strip)] = "no"

    @property
    def root(self) -> StoreConfig:
        return self.root_section  # type: ignore[no-any-return]  # msgspec has no union of dataclasses

    @property
    def bucket(self) -> StoreConfig:
        return self.bucket_section  # type: ignore[no-any-return]

    @property
    def max_bytes(self) -> int:
        return self.max_megabytes * 1_000_000

    @property
    def decoding(self) -> Limits:
        keys = self.decoding_keys
        return Limits(keys.memory_megabytes * 10**6, keys.cpu_seconds, keys.seconds)

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
    said = section(read_document(yaml_text), Config)
    config = replace(said, resizes=tuple(replace(each, quality=each.quality or said.quality) for each in said.resizes))
    _layout(config.guetzli_run.output, config.resizes)
    check_separate(config.root, config.bucket)
    return config


@lru_cache(maxsize=16)
def _layout(compressed_folder: str, resizes: tuple[ResizeConfig, ...]) -> Layout:
    for key in ("func", "suffix"):
        values = [getattr(resize, key) for resize in resizes]
        for index, value in enumerate(values):
            if (first := values.index(value)) < index:
                raise ConfigError(f"resizes[{index}].{key}: {value!r} is that of resizes[{first}]; give each its own")
    return Layout(compressed_folder, {resize.suffix: resize.output for resize in resizes})
