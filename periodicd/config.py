"""The daemon's configuration: what can be set, and where a value came from. Pure but for reading the one file.

``Config`` is the only list of what can be set. The options of the command, the environment variables, the keys of the
file, ``config show`` and the table in docs/operating.md are all made from it: a new field here is all that it takes.

A flag wins over the environment, that over the file, that over the default. What a source does not name is absent from
it, so that a default of one source never hides a value of the next. No file is read that was not named: what a daemon
does must not depend on the folder that it happens to be started in (docs/decisions/0008).
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from periodicd import __version__
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


# -- kinds of values ---------------------------------------------------------------------------------------------------


class Kind(Protocol):
    """What values a field takes."""

    @property
    def form(self) -> str:
        """In words, as in "must be ..."."""

    @property
    def metavar(self) -> str | None: ...

    def from_text(self, text: str) -> Any:
        """What a flag or a variable says, as TOML would have it; the text itself if it cannot be read."""

    def take(self, value: Any) -> Any:
        """The value for a value of TOML. Raises ValueError if it is not of this form."""


@dataclass(frozen=True, slots=True)
class Integer:
    low: int
    high: int
    metavar = "N"

    @property
    def form(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def from_text(self, text: str) -> Any:
        with suppress(ValueError):
            return int(text)
        return text

    def take(self, value: Any) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    high: int
    metavar = "SECONDS"

    @property
    def form(self) -> str:
        return f"a number of seconds from 0 to {self.high}"

    def from_text(self, text: str) -> Any:
        with suppress(ValueError):
            return float(text)
        return text

    def take(self, value: Any) -> float:
        if type(value) not in (int, float) or not 0 <= value <= self.high:
            raise ValueError
        return float(value)


@dataclass(frozen=True, slots=True)
class Choice:
    words: tuple[str, ...]

    @property
    def form(self) -> str:
        return " or ".join((", ".join(self.words[:-1]), self.words[-1]))

    @property
    def metavar(self) -> str:
        return f"[{'|'.join(self.words)}]"

    def from_text(self, text: str) -> str:
        return text

    def take(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError
        return str(value)


class Boolean:
    form = "true or false"
    metavar = None

    def from_text(self, text: str) -> Any:
        return {"true": True, "false": False}.get(text.lower(), text)

    def take(self, value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value


class File:
    form = "a path of printable characters"
    metavar = "FILE"

    def from_text(self, text: str) -> str:
        return text

    def take(self, value: Any) -> Path:
        if type(value) is not str or not value or not value.isprintable():
            raise ValueError
        return Path(value)


class Urls:
    """In a variable they are separated by spaces. What an address is, is the server's business."""

    form = f"a list of 1 to {LISTEN_MAX} addresses"
    metavar = "URL"

    def from_text(self, text: str) -> list[str]:
        return text.split()

    def take(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= LISTEN_MAX:
            raise ValueError
        if not all(type(url) is str and url.isprintable() for url in value):
            raise ValueError
        return tuple(value)


# -- what can be set ---------------------------------------------------------------------------------------------------

_SETTINGS = Settings()
_DAY_MS = 86_400_000


def _field(kind: Kind, meaning: str, *older_flags: str) -> dict[str, Any]:
    return {"kind": kind, "meaning": meaning, "older_flags": older_flags}


@dataclass(frozen=True, slots=True)
class Config:
    """The values in force. Each attribute is one field: its default, what values it takes, and what it means."""

    listen: tuple[str, ...] = field(
        default=("tcp://127.0.0.1:5000",),
        metadata=_field(Urls(), "Where to listen: tcp://HOST:PORT or unix:///PATH; several are possible."),
    )
    store: Path = field(
        default=Path("periodic.db"),
        metadata=_field(File(), "The SQLite file with the jobs; made if missing. :memory: is no file, to play."),
    )
    durability: Literal["full", "relaxed"] = field(
        default="full",
        metadata=_field(
            Choice(("full", "relaxed")),
            "full: acknowledged means synced to disk. relaxed: a power cut may lose the last moments.",
        ),
    )
    drain_s: float = field(
        default=10.0, metadata=_field(Seconds(86_400), "How long a stop waits for running jobs.", "--drain")
    )
    insecure_bind: bool = field(
        default=False,
        metadata=_field(Boolean(), "Listen beyond this machine, though anyone who connects may do anything."),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_field(
            Choice(("debug", "info", "warning", "error")), "How important a line must be at least to be logged."
        ),
    )
    log_format: Literal["people", "json"] = field(
        default="people",
        metadata=_field(Choice(("people", "json")), "people: lines to read. json: one object a line, to collect."),
    )
    connections: int = field(
        default=5_000, metadata=_field(Integer(1, 100_000), "How many connections may be open; more are refused.")
    )
    idle_s: int = field(
        default=_SETTINGS.idle_ms // 1000,
        metadata=_field(
            Integer(10, 7 * 86_400), "A connection that is silent for so long, and waits for nothing, is closed."
        ),
    )
    connections_bytes: int = field(
        default=_SETTINGS.connections_bytes,
        metadata=_field(
            Integer(16 * 2**20, 2**36),
            "What all connections together may hold of messages in progress and answers not yet sent.",
        ),
    )
    message_bytes: int = field(
        default=_SETTINGS.message_bytes,
        metadata=_field(Integer(64 * 2**10, 32 * 2**20), "The largest message that is accepted."),
    )
    workload_bytes: int = field(
        default=_SETTINGS.workload_bytes,
        metadata=_field(
            Integer(0, 32 * 2**20), f"The largest workload; at least {ENVELOPE_BYTES} less than message_bytes."
        ),
    )
    window_jobs: int = field(
        default=_SETTINGS.budget.jobs,
        metadata=_field(Integer(1_000, 10_000_000), "How many of the waiting jobs memory holds; the rest are on disk."),
    )
    window_bytes: int = field(
        default=_SETTINGS.budget.bytes, metadata=_field(Integer(2**20, 2**36), "How much memory these take, about.")
    )
    dead_kept: int = field(
        default=_SETTINGS.dead_kept,
        metadata=_field(Integer(0, 10_000_000), "How many dead jobs are kept; the oldest go first."),
    )
    dead_kept_days: int = field(
        default=_SETTINGS.dead_kept_ms // _DAY_MS, metadata=_field(Integer(0, 3_650), "How long dead jobs are kept.")
    )

    @property
    def settings(self) -> Settings:
        """What of this the scheduler goes by; the rest are its defaults."""
        return Settings(
            server=f"periodicd {__version__}",
            durability="memory" if self.store == IN_MEMORY else self.durability,
            message_bytes=self.message_bytes,
            workload_bytes=self.workload_bytes,
            connections_bytes=self.connections_bytes,
            idle_ms=self.idle_s * 1000,
            budget=Budget(self.window_jobs, self.window_bytes),
            dead_kept=self.dead_kept,
            dead_kept_ms=self.dead_kept_days * _DAY_MS,
        )


class Field(NamedTuple):
    """One line of ``Config``, with the names that follow from it."""

    name: str
    kind: Kind
    default: Any
    meaning: str
    older_flags: tuple[str, ...]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "PERIODICD_" + self.name.upper()

    @property
    def default_text(self) -> str:
        """As a variable would say it."""
        if isinstance(self.default, tuple):
            return " ".join(self.default)
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default).lower()


FIELDS: dict[str, Field] = {
    each.name: Field(each.name, default=each.default, **each.metadata) for each in fields(Config)
}


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
            values[name] = _take(each, content[name], f"{path}: {name}")
            origins[name] = str(path)
        if environ.get(each.variable):
            values[name] = _take(each, each.kind.from_text(environ[each.variable]), each.variable)
            origins[name] = each.variable
        if name in flags:
            values[name] = _take(each, _from_text(flags[name], each.kind), each.flag)
            origins[name] = each.flag
    config = Config(**values)
    _check(config, origins)
    return config, origins


def unknown_variables(environ: Iterable[str]) -> Iterator[str]:
    """A sentence for each variable that looks like ours and is none. Others may set such, so they are no error."""
    known = [FILE_VARIABLE, *(each.variable for each in FIELDS.values())]
    for name in sorted(environ):
        if name.startswith("PERIODICD_") and name not in known:
            yield f"{name!r:.100} is not a variable of periodicd{_nearest(name, known)}"


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


def _from_text(given: Any, kind: Kind) -> Any:
    return kind.from_text(given) if isinstance(given, str) else given


def _take(each: Field, value: Any, where: str) -> Any:
    try:
        return each.kind.take(value)
    except ValueError:
        raise ConfigError(f"{where} must be {each.kind.form}, not {value!r:.200}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: has more than {FILE_BYTES_MAX} bytes; is it a configuration?")
        content = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text in UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for key in content:
        if key not in FIELDS:
            raise ConfigError(f"{path}: {key!r:.100} is not a key{_nearest(key, FIELDS)}")
    return content


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:64], known, 1)
    return f"; did you mean {near[0]}?" if near else f"; they are {', '.join(known)}"


def _check(config: Config, origins: Mapping[str, str]) -> None:
    if config.workload_bytes > config.message_bytes - ENVELOPE_BYTES:
        raise ConfigError(
            f"workload_bytes ({config.workload_bytes}, {origins['workload_bytes']}) must be at least {ENVELOPE_BYTES}"
            f" less than message_bytes ({config.message_bytes}, {origins['message_bytes']}), which carries it"
        )
