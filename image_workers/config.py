"""The keys of the configuration file. All of it is checked before anything is started, made or connected.

The keys are those of the original image workers, so that their files go on working, and a few more; the example
configuration explains each. Every key has a default. A key that is not known is an error, since a misspelt one would
otherwise quietly do nothing.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from image_workers.decoder import Limits
from image_workers.errors import ConfigError
from image_workers.guetzli import MIN_QUALITY
from image_workers.making.forms import WHITE, Colour, Fit, Form, Format, Recipe
from image_workers.names import MAX_NAME_BYTES, Layout, type_of_name
from image_workers.stores.settings import DirectoryConfig, StoreConfig, check_separate, read_bucket, read_root
from image_workers.values import Read, daemon, duration, folder, megapixels, read_document, section, text
from image_workers.web.settings import ServeConfig
from periodic_client.wire.limits import NAME_BYTES_MAX

Enabled = Literal["here", "elsewhere", "off"]
"""Who runs a step: this worker, another one, or nobody. A step that nobody runs is not submitted."""

Strip = Literal["no", "gps", "all"]
"""What is taken out of originals before they are published."""

Quality = Annotated[int, Meta(ge=1, le=100)]

Encoder = Literal["jpegli", "guetzli", "pillow"]
"""What makes the JPEGs: jpegli or Pillow at once, or guetzli in a step of its own, after Pillow."""

_FIXED_FUNCTIONS = (
    "save", "upload", "upload-next-compress", "upload-next-guetzli", "compress", "guetzli", "upload-next-remove",
    "remove", "unpublish", "delete", "finished",
)  # fmt: skip
MEGAPIXELS_LOCK = "guetzli-megapixels"
"""The daemon's lock of which a run of guetzli holds as much as its picture has megapixels."""
_ORIGINALS_KEYS = ("enable-guetzli", "guetzli")
_RESIZE = "resize"
_FORMATS: dict[str, Format] = {
    "image/jpeg": "jpeg", "image/webp": "webp", "image/avif": "avif", "image/png": "png",
}  # fmt: skip
_ENDINGS: dict[Format, str] = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png"}
_QUALITY, _JPEGLI_QUALITY, _AVIF_QUALITY = 80, 84, 65
"""The last two look like the first or a little better; AVIF counts otherwise, so it has its own."""
_HOPELESS = 5
"""By how much guetzli's quality may be above that of the thumbnail; beyond it, it never needed fewer bytes: measured at
its qualities 84, 90 and 95."""
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


def _lock(value: Any, where: str) -> str:
    if len(text(value, where).encode()) > NAME_BYTES_MAX:
        raise ConfigError(f"{where}: is longer than {NAME_BYTES_MAX} bytes")
    if value == MEGAPIXELS_LOCK:
        raise ConfigError(f"{where}: {value} is the lock that megapixels-at-once sets; choose another name")
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
        "time_limit_ms": "time-limit", "megapixels_at_once": "megapixels-at-once",
    },
):  # fmt: skip
    """`memlimit_mb` and `time_limit_ms` hold for one run; a picture of more than `max_pixels` gets none.

    `lock_name`, of which `lock_count` run at once, and `megapixels_at_once` hold for all workers of all machines.
    """

    output: Annotated[str, Read(folder)] = "guetzli"
    lock_name: Annotated[str | None, Read(_lock)] = None
    lock_count: Annotated[int, Meta(ge=1, le=1000)] = 1
    verbose: Annotated[int, Meta(ge=0, le=1)] = 0
    quality: Annotated[int, Meta(ge=MIN_QUALITY, le=100)] = 95
    memlimit_mb: Annotated[int, Meta(ge=100, le=1_000_000)] = 6000
    max_pixels: Annotated[int, megapixels(1000)] = 2_000_000
    time_limit_ms: Annotated[int, duration(1, 20 * 3600)] = 600_000
    megapixels_at_once: Annotated[int, Meta(ge=1, le=100_000)] = 4

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
        "compress": "enable-compress", "original_compress": "enable-guetzli", "encoder_said": "encoder",
        "guetzli_run": "guetzli", "root_section": "root", "bucket_section": "bucket",
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
    delete: bool = False
    then: Annotated[str | None, Read(_function)] = None
    """The function that is told of each picture that is finished."""
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
    bucket_section: Annotated[Any, Read(read_bucket)] = DirectoryConfig(Path("bucket"), "")
    upload_limit_ms: Annotated[int, duration(1, _DAY_S)] = 3_600_000
    cache_ms: Annotated[int, duration(1, 3650 * _DAY_S)] = 5 * _DAY_S * 1000
    max_pixels: Annotated[int, megapixels(1000)] = 64_000_000
    max_megabytes: Annotated[int, Meta(ge=1, le=1024)] = 64
    decoding_keys: DecodingConfig = DecodingConfig()
    compress_originals: bool = False
    strip: Annotated[Strip, Read(_strip)] = "no"
    serve: ServeConfig = ServeConfig()

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
    def encoder(self) -> Encoder:
        return self.encoder_said or "jpegli"

    @property
    def groups(self) -> dict[str, tuple[ResizeConfig, ...]]:
        """The functions that make thumbnails, and what each makes."""
        funcs = dict.fromkeys(each.func for each in self.resizes)
        return {func: tuple(each for each in self.resizes if each.func == func) for func in funcs}

    def can_gain_by_guetzli(self, resize: ResizeConfig) -> bool:
        """Whether guetzli may need fewer bytes for the pixels than the thumbnail has."""
        return resize.quality >= self.guetzli_run.quality - _HOPELESS

    @property
    def locks(self) -> dict[str, int]:
        """The daemon's locks under which guetzli runs, with their capacities; none if it is not the encoder."""
        if self.encoder != "guetzli" or self.compress == "off":
            return {}
        run = self.guetzli_run
        named = {run.lock_name: run.lock_count} if run.lock_name else {}
        return named | {MEGAPIXELS_LOCK: run.megapixels_at_once}

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
    if config.then in config.groups:
        raise ConfigError(f"then: {config.then} makes thumbnails; name the function that is to be told")
    _layout(config.guetzli_run.output, config.resizes)
    check_separate(config.root, config.bucket)
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
