"""The daemon's configuration: what can be set, and where a value came from. Pure but for reading the one file.

``Config`` is the only list of what can be set. The options of the command, the environment variables, the keys of the
file, ``config show`` and the table in docs/operating.md are all made from it: a new field here is all that it takes.

A flag wins over the environment, that over the file, that over the default. What a source does not name is absent from
it, so that a default of one source never hides a value of the next. No file is read that was not named: what a daemon
does must not depend on the folder that it happens to be started in (docs/decisions/0008).
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, inspect

from periodic_client import words
from periodic_client.texts import duration_ms, nearest
from periodicd import BUILD, __version__
from periodicd.scheduler import Settings
from periodicd.scheduler.queues import Budget

FILE_VARIABLE = "PERIODICD_CONFIG"
IN_MEMORY = Path(":memory:")
"""In place of the store's file, as SQLite says it: none."""
FILE_BYTES_MAX = 1024 * 1024
LISTEN_MAX = 100
ENVELOPE_BYTES = 8192
"""What a message needs beside the workload of its job, at the most: half of it for headers."""


class ConfigError(Exception):
    """The configuration cannot be used. The message names the flag, the variable, or the file and its key."""


# -- what can be set ---------------------------------------------------------------------------------------------------

_SETTINGS = Settings()
_DAY_MS = 86_400_000

File = Annotated[Path, Meta(extra={"words": "a path of printable characters", "metavar": "FILE"})]
Urls = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1,
        max_length=LISTEN_MAX,
        extra={"words": f"an array of 1 to {LISTEN_MAX} addresses", "metavar": "URL"},
    ),
]
"""In a variable they are separated by spaces. What an address is, is the server's business."""
Urls0 = Annotated[
    tuple[str, ...],
    Meta(max_length=LISTEN_MAX, extra={"words": f"an array of up to {LISTEN_MAX} addresses", "metavar": "URL"}),
]
"""The same, and there may be none."""
Seconds = Annotated[float, Meta(ge=0, le=86_400, extra={"unit": "seconds"})]


def _means(meaning: str, *older_flags: str) -> Meta:
    return Meta(description=meaning, extra={"older_flags": older_flags})


class Config(Struct, frozen=True, kw_only=True):
    """The values in force. Each attribute is one field: its default, what values it takes, and what it means."""

    listen: Annotated[Urls, _means("Where to listen: tcp://HOST:PORT or unix:///PATH; several are possible.")] = (
        "tcp://127.0.0.1:5000",
    )
    store: Annotated[File, _means("The SQLite file with the jobs; made if missing. :memory: is no file, to play.")] = (
        Path("periodic.db")
    )
    durability: Annotated[
        Literal["full", "relaxed"],
        _means("full: acknowledged means synced to disk. relaxed: a power cut may lose the last moments."),
    ] = "full"
    metrics: Annotated[
        Urls0, _means("Where to tell metrics and health over HTTP, as tcp://127.0.0.1:9500; needs periodicd[metrics].")
    ] = ()
    drain_s: Annotated[Seconds, _means("How long a stop waits for running jobs.", "--drain")] = 10.0
    insecure_bind: Annotated[
        bool, _means("Listen beyond this machine, though anyone who connects may do anything.")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _means("How important a line must be at least to be logged."),
    ] = "info"
    log_format: Annotated[
        Literal["people", "json"], _means("people: lines to read. json: one object a line, to collect.")
    ] = "people"
    connections: Annotated[
        int, Meta(ge=1, le=100_000), _means("How many connections may be open; more are refused.")
    ] = _SETTINGS.connections
    idle_s: Annotated[
        int,
        Meta(ge=10, le=7 * 86_400, extra={"unit": "seconds"}),
        _means("A connection that is silent for so long, and waits for nothing, is closed."),
    ] = _SETTINGS.idle_ms // 1000
    connections_bytes: Annotated[
        int,
        Meta(ge=16 * 2**20, le=2**36),
        _means("What all connections together may hold of messages in progress and answers not yet sent."),
    ] = _SETTINGS.connections_bytes
    message_bytes: Annotated[
        int, Meta(ge=64 * 2**10, le=32 * 2**20), _means("The largest message that is accepted.")
    ] = _SETTINGS.message_bytes
    workload_bytes: Annotated[
        int,
        Meta(ge=0, le=32 * 2**20),
        _means(f"The largest workload; at least {ENVELOPE_BYTES:,} less than message_bytes."),
    ] = _SETTINGS.workload_bytes
    window_jobs: Annotated[
        int, Meta(ge=1_000, le=10_000_000), _means("How many of the waiting jobs memory holds; the rest are on disk.")
    ] = _SETTINGS.budget.jobs
    window_bytes: Annotated[int, Meta(ge=2**20, le=2**36), _means("How much memory these take, about.")] = (
        _SETTINGS.budget.bytes
    )
    dead_kept: Annotated[
        int, Meta(ge=0, le=10_000_000), _means("How many dead jobs are kept; the oldest go first.")
    ] = _SETTINGS.dead_kept
    dead_kept_days: Annotated[int, Meta(ge=0, le=3_650), _means("How long dead jobs are kept.")] = (
        _SETTINGS.dead_kept_ms // _DAY_MS
    )

    @property
    def settings(self) -> Settings:
        """What of this the scheduler goes by; the rest are its defaults."""
        return Settings(
            server=f"periodicd {__version__}",
            build=BUILD,
            measures=bool(self.metrics),
            durability="memory" if self.store == IN_MEMORY else self.durability,
            message_bytes=self.message_bytes,
            workload_bytes=self.workload_bytes,
            connections_bytes=self.connections_bytes,
            idle_ms=self.idle_s * 1000,
            budget=Budget(self.window_jobs, self.window_bytes),
            dead_kept=self.dead_kept,
            dead_kept_ms=self.dead_kept_days * _DAY_MS,
        )


class Field(Struct, frozen=True):
    """One line of ``Config``, with the names that follow from it."""

    of: words.Field

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def default(self) -> Any:
        return self.of.default

    @property
    def meaning(self) -> str:
        return str(self.of.notes["description"])

    @property
    def form(self) -> str:
        """What a value is to be, as in "must be ..."."""
        also = ", or a duration such as 1h30m" if self._is_duration else ""
        return words.in_words(self.of.kind, self.of.notes) + also

    @property
    def _is_duration(self) -> bool:
        return self.of.notes.get("unit") == "seconds"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """With those of older days."""
        return (self.flag, *self.of.notes["older_flags"])

    @property
    def metavar(self) -> str | None:
        """What stands for the value in the help."""
        match self.of.kind:
            case inspect.LiteralType(values=choices):
                return f"[{'|'.join(map(str, choices))}]"
            case inspect.IntType():
                return "N"
            case inspect.FloatType():
                return str(self.of.notes["unit"]).upper()
        return self.of.notes.get("metavar")

    @property
    def variable(self) -> str:
        return "PERIODICD_" + self.name.upper()

    @property
    def default_text(self) -> str:
        """As a variable would say it."""
        if isinstance(self.default, tuple):
            return " ".join(self.default) or "none"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default).lower()

    def take(self, value: Any, where: str) -> Any:
        """The value for a value of TOML. ``where`` it is from is told if it is none. Raises ConfigError."""
        texts = value if isinstance(value, list | tuple) else [value]
        with suppress(ValidationError):
            # What is not printable could not be shown as a line of TOML.
            if all(each.isprintable() for each in texts if isinstance(each, str)):
                return convert(self._seconds(value), self.of.hint, dec_hook=_path)
        raise ConfigError(f"{where} must be {self.form}, not {value!r:.200}")

    def _seconds(self, value: Any) -> Any:
        """A duration that is written as one, in the number that this field has."""
        if self._is_duration and isinstance(value, str):
            with suppress(ValueError):
                value = duration_ms(value) / 1000
                return int(value) if value.is_integer() else value
        return value

    def from_text(self, text: str) -> Any:
        """What a flag or a variable says, as TOML would have it; the text itself if it cannot be read."""
        with suppress(ValueError):
            match self.of.kind:
                case inspect.IntType():
                    return int(text)
                case inspect.FloatType():
                    return float(text)
                case inspect.BoolType():
                    return {"true": True, "false": False}.get(text.lower(), text)
                case inspect.VarTupleType():
                    return text.split()
        return text


def _path(_: type, value: Any) -> Path:
    if type(value) is not str or not value:
        raise ValueError
    return Path(value)


FIELDS: dict[str, Field] = {each.name: Field(each) for each in words.fields_of(Config)}


# -- the four sources --------------------------------------------------------------------------------------------------


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str], path: Path | None = None
) -> tuple[Config, dict[str, str]]:
    """The values in force, and for each field where its value came from: a flag, a variable, the file, or "default".

    ``flags`` has the fields that were given on the command line, as texts, sequences of texts or booleans. ``path`` is
    the file to read; without one the environment may name it. Raises ConfigError.
    """
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    content = {} if path is None else _read(path)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, each in FIELDS.items():
        # From the weakest to the strongest: what is wrong is refused even where a stronger source hides it.
        origins[name] = "default"
        if name in content:
            values[name] = each.take(content[name], f"{path}: {name}")
            origins[name] = str(path)
        if environ.get(each.variable):
            values[name] = each.take(each.from_text(environ[each.variable]), each.variable)
            origins[name] = each.variable
        if name in flags:
            given = flags[name]
            values[name] = each.take(each.from_text(given) if isinstance(given, str) else given, each.flag)
            origins[name] = each.flag
    config = Config(**values)
    _check(config, origins)
    return config, origins


def unknown_variables(environ: Iterable[str]) -> Iterator[str]:
    """A sentence for each variable that looks like ours and is none. Others may set such, so they are no error."""
    known = [FILE_VARIABLE, *(each.variable for each in FIELDS.values())]
    for name in sorted(environ):
        if name.startswith("PERIODICD_") and name not in known:
            yield f"{name!r:.100} is not a variable of periodicd{nearest(name, known)}"


def to_toml(config: Config, origins: Mapping[str, str] | None = None) -> str:
    """The configuration as a file that says the same; with ``origins``, each in a comment."""
    lines = []
    for name, value in to_json(config).items():
        # The strings are printable (File, Urls), and then JSON's are TOML's too.
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        lines.append(f"{line}  # {origins[name]}" if origins else line)
    return "\n".join(lines)


def to_json(config: Config) -> dict[str, Any]:
    """The configuration in values that JSON and TOML have."""
    values = {name: getattr(config, name) for name in FIELDS}
    return values | {"listen": list(config.listen), "store": str(config.store)}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: has more than {FILE_BYTES_MAX:,} bytes; is it a configuration?")
        content = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text in UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for key in content:
        if key not in FIELDS:
            raise ConfigError(f"{path}: {key!r:.100} is not a key{nearest(key, FIELDS)}")
    return content


def _check(config: Config, origins: Mapping[str, str]) -> None:
    if config.workload_bytes > config.message_bytes - ENVELOPE_BYTES:
        raise ConfigError(
            f"workload_bytes ({config.workload_bytes:,}, {origins['workload_bytes']}) must be at least"
            f" {ENVELOPE_BYTES:,} less than message_bytes ({config.message_bytes:,}, {origins['message_bytes']}), which"
            " carries it"
        )
