"""Reads a YAML text into types: a mapping is a msgspec Struct, whose fields are taken one by one.

A field says by its annotation what values it takes: ranges and choices as msgspec has them, or ``Read``, a function
that turns the value into what the program uses, or raises `ConfigError`, which names the key. Which keys there are is
not known here.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import yaml
from msgspec import Struct, ValidationError, convert, inspect

from image_workers.errors import ConfigError, Refused
from image_workers.names import check_name
from periodic_client.texts import duration_ms, nearest
from periodic_client.url import parse_url
from periodic_client.words import Field, fields_of, in_words

S = TypeVar("S", bound=Struct)

_MAX_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Read:
    """In an annotation: how the value is read. It takes the value and the key with its place, `resizes[0].width`."""

    read: Callable[[Any, str], Any]


def read_document(text: str) -> Any:
    """What a YAML text says."""
    try:
        # _Loader is a SafeLoader: it makes plain values only.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        # Not its whole text, which quotes the line: a password may be in it.
        mark = error.problem_mark
        raise ConfigError(f"is not YAML: {error.problem}" + (f", line {mark.line + 1}" if mark else "")) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}") from error


def section(value: Any, kind: type[S], where: str = "") -> S:
    """The mapping as what it is said to be. An empty value stands for the default, and an empty mapping for all."""
    if not isinstance(value, dict | None):
        given = type(value).__name__  # the values themselves may be secret
        raise ConfigError(f"{where or 'the file'}: must be a mapping of keys and values, not of type {given}")
    values = value or {}
    fields = fields_of(kind)
    keys = [each.name for each in fields]
    for key in values:
        if key not in keys:
            raise ConfigError(f"{place(where, key)}: is not a known key{nearest(str(key), keys)}")
    taken = (_take(each, values.get(each.name), place(where, each.name)) for each in fields)
    return kind(**dict(zip(kind.__struct_fields__, taken, strict=True)))


def place(where: str, key: str) -> str:
    """The key with its place."""
    return f"{where}.{key}" if where else key


def _take(field: Field, value: Any, where: str) -> Any:
    if isinstance(field.kind, inspect.StructType):
        return section(value, field.kind.cls, where)
    if value is None and field.is_required:
        raise ConfigError(f"{where}: is missing")
    if value is None:
        return field.default
    if isinstance(field.kind, inspect.VarTupleType) and isinstance(field.kind.item_type, inspect.StructType):
        return _sections(value, field.kind.item_type.cls, where)
    for each in get_args(field.hint):
        if isinstance(each, Read):
            return each.read(value, where)
    with suppress(ValidationError):
        return convert(value, field.hint)
    raise ConfigError(f"{where}: must be {in_words(field.kind, field.notes)}, not {value!r}")


def _sections(value: Any, kind: type[S], where: str) -> tuple[S, ...]:
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
        raise ConfigError(f"{where}: must be a list of {_MAX_ENTRIES} mappings at most, not {value!r:.100}")
    return tuple(section(entry, kind, f"{where}[{index}]") for index, entry in enumerate(value))


# -- readers -----------------------------------------------------------------------------------------------------------


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{where}: must be a text, not {value!r}")
    return value


def secret(value: Any, where: str) -> str:
    """A text that is never repeated, and fits into a header."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise ConfigError(f"{where}: must be a text of ASCII letters, digits and signs, without spaces")
    return value


def megapixels(high: int) -> Read:
    """Millions of pixels, as a number of pixels."""

    def read(value: Any, where: str) -> int:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= high:
            raise ConfigError(f"{where}: must be a number of millions of pixels up to {high}, not {value!r}")
        return round(value * 1_000_000)

    return Read(read)


def duration(low_s: int, high_s: int) -> Read:
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

    return Read(read)


def daemon(value: Any, where: str) -> str:
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


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, and not silently the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConfigError(f"{key.value}: is given twice, the second time in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)
