"""What may be said in a field, as its type has it: the ends of numbers, the words, a name that is as long as may be."""

from functools import cache

from msgspec import inspect

from periodic_client.words import fields_of
from periodicd.protocol.words import Said


def _kind(said: type[Said], name: str) -> inspect.Type:
    return next(each.kind for each in fields_of(said) if each.name == name)


@cache
def ends(said: type[Said], name: str) -> tuple[int, int]:
    """The least and the most."""
    kind = _kind(said, name)
    assert isinstance(kind, inspect.IntType), f"{said.__name__}.{name} is no integer"
    assert kind.ge is not None
    assert kind.le is not None
    return kind.ge, kind.le


@cache
def words(said: type[Said], name: str) -> tuple[str, ...]:
    """Those that may be chosen."""
    kind = _kind(said, name)
    assert isinstance(kind, inspect.LiteralType), f"{said.__name__}.{name} is no choice"
    return tuple(map(str, kind.values))


def longest(said: type[Said], name: str, letter: str) -> str:
    """So many of the letter that no more may be."""
    kind = _kind(said, name)
    assert isinstance(kind, inspect.StrType), f"{said.__name__}.{name} is no text"
    assert kind.max_length is not None
    return letter * kind.max_length
