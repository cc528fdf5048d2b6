"""What a type says, in words that know nothing of Python: for errors, for tables of pages, for help.

For the daemon and the image workers; the library itself does without, and without msgspec.

A type is a msgspec Struct whose annotations hold ranges and meaning: ``Annotated[int, Meta(ge=0, description="...")]``.
"""

from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import Struct, inspect


class Field(NamedTuple):
    name: str
    kind: inspect.Type
    """Without nil."""
    notes: dict[str, Any]
    """``description``, and whatever else the annotation has in ``extra``."""
    is_required: bool
    default: Any
    hint: Any
    """The annotation, for msgspec.convert."""


@lru_cache(maxsize=256)
def fields_of(struct: type[Struct]) -> tuple[Field, ...]:
    """In their order."""
    shape = inspect.type_info(struct)
    assert isinstance(shape, inspect.StructType)
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for each in shape.fields:
        kind, notes = plain(each.type)
        if isinstance(kind, inspect.LiteralType):
            kind = inspect.LiteralType(_choices(hints[each.name]))  # msgspec sorts them
        found.append(Field(each.encode_name, kind, notes, each.required, each.default, hints[each.name]))
    return tuple(found)


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(_choices, get_args(hint))), ())


def plain(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """The type without nil, and what is noted of it; what stands outside wins."""
    notes: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.UnionType):
            (kind,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
        else:
            notes = (kind.extra_json_schema or {}) | (kind.extra or {}) | notes
            kind = kind.type
    return kind, notes


def noun(kind: inspect.Type) -> str:
    """One of an array's elements."""
    called: str = getattr(kind.cls, "called", "a map") if isinstance(kind, inspect.StructType) else "a text"
    return called.split(" ", 1)[1]


def in_words(kind: inspect.Type, notes: dict[str, Any]) -> str:
    """What a value is to be, as in "is ..., not a float". ``words`` among the notes says it for a kind of its own."""
    if "words" in notes:
        return str(notes["words"])
    match kind:
        case inspect.IntType(ge=low, le=high):
            of = f" of {notes['unit']}" if "unit" in notes else ""
            return f"an integer{of} from {low:,} to {high:,}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number of {notes['unit']} from {low:,.15g} to {high:,.15g}"
        case inspect.LiteralType(values=words):
            return f"one of {', '.join(map(str, words))}"
        case inspect.VarTupleType(item_type=item):
            return f"an array of {noun(plain(item)[0])}s"
        case inspect.DictType(value_type=value):
            return f"a map of text to {'integer' if isinstance(plain(value)[0], inspect.IntType) else 'text'}"
        case inspect.StructType():
            return "a map"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "a text"
    raise AssertionError(f"{kind} has no words")
