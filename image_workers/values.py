"""Reads values out of a YAML text: a mapping is a section, whose keys are taken one by one, each with a reader.

A reader turns the value of a key into what the program uses, or raises `ConfigError`, which names the key. Which keys
there are is not known here.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import yaml

from image_workers.errors import ConfigError, Refused
from image_workers.names import check_name
from periodic_client.texts import duration_ms, nearest
from periodic_client.url import parse_url

T = TypeVar("T")
Reader = Callable[[Any, str], T]
"""Takes the value and the key with its place, as in `resizes[0].width`."""

REQUIRED: Any = object()
"""The default of a key that has none."""

_MAX_ENTRIES = 100


def read_document(text: str) -> "Section":
    """The top section of a YAML text; an empty text is an empty section."""
    try:
        # _Loader is a SafeLoader: it makes plain values only.
        document = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        # Not its whole text, which quotes the line: a password may be in it.
        mark = error.problem_mark
        raise ConfigError(f"is not YAML: {error.problem}" + (f", line {mark.line + 1}" if mark else "")) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}") from error
    return Section(document, "")


class Section:
    """A mapping of the text. What was not taken when `finish` is called is unknown."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict | None):
            kind = type(values).__name__  # the values themselves may be secret
            raise ConfigError(f"{name or 'the file'}: must be a mapping of keys and values, not of type {kind}")
        self._values = values or {}
        self._name = name
        self._known: list[str] = []

    def where(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def take(self, key: str, default: Any, read: Reader[T]) -> T:
        """The value of the key. The default, which is returned as it is, also stands for an empty value."""
        self._known.append(key)
        value = self._values.get(key)
        if value is not None:
            return read(value, self.where(key))
        if default is REQUIRED:
            raise ConfigError(f"{self.where(key)}: is missing")
        return default  # type: ignore[no-any-return]

    def section(self, key: str) -> "Section":
        return self.take(key, Section(None, self.where(key)), Section)

    def sections(self, key: str) -> list["Section"]:
        """The mappings of a list."""
        return self.take(key, [], _sections)

    def finish(self) -> None:
        for key in self._values:
            if key not in self._known:
                raise ConfigError(f"{self.where(key)}: is not a known key{nearest(str(key), self._known)}")


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{where}: must be a text, not {value!r}")
    return value


def secret(value: Any, where: str) -> str:
    """A text that is never repeated, and fits into a header."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise ConfigError(f"{where}: must be a text of ASCII letters, digits and signs, without spaces")
    return value


def boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: must be true or false, not {value!r}")
    return value


def integer(low: int, high: int) -> Reader[int]:
    def read(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{where}: must be a whole number from {low} to {high}, not {value!r}")
        return value

    return read


def megapixels(high: int) -> Reader[int]:
    """Millions of pixels, as a number of pixels."""

    def read(value: Any, where: str) -> int:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= high:
            raise ConfigError(f"{where}: must be a number of millions of pixels up to {high}, not {value!r}")
        return round(value * 1_000_000)

    return read


def duration(low_s: int, high_s: int) -> Reader[int]:
    """A duration, as milliseconds; a number alone is seconds."""

    def read(value: Any, where: str) -> int:
        written = str(value)
        try:
            given_ms = duration_ms(written if written[-1:].isalpha() else f"{written}s")
        except ValueError:
            raise ConfigError(f"{where}: must be a duration like 90s, 15m, 1h30m or 5d, not {value!r}") from None
        if not low_s * 1000 <= given_ms <= high_s * 1000:
            raise ConfigError(f"{where}: must be from {low_s} to {high_s} seconds, not {value!r}")
        return given_ms

    return read


def url(value: Any, where: str) -> str:
    """The url of a daemon."""
    try:
        parse_url(text(value, where))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return str(value)


def folder(value: Any, where: str) -> str:
    """A relative path made of plain parts."""
    try:
        check_name(text(value, where))
    except Refused as error:
        raise ConfigError(f"{where}: {error}") from error
    return str(value)


def _sections(value: Any, where: str) -> list[Section]:
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
        raise ConfigError(f"{where}: must be a list of {_MAX_ENTRIES} mappings at most, not {value!r:.100}")
    return [Section(entry, f"{where}[{index}]") for index, entry in enumerate(value)]


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, and not silently the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConfigError(f"{key.value}: is given twice, the second time in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)
