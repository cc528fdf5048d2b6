"""Types of the protocol and their words: params become what their type says, or ``Invalid`` names what is wrong.

A type is a ``Said``: a msgspec Struct whose annotations hold ranges and meaning. msgspec checks; only when it refuses
is the value looked at again, here, to say where and why in words that know nothing of Python. Which messages there are
is not known here.
"""

import re
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from msgspec import Meta, Struct, ValidationError, convert, inspect

from periodic_client.texts import nearest
from periodic_client.wire import Invalid
from periodic_client.wire.limits import INTEGER_MAX
from periodic_client.words import Field, fields_of, in_words, noun, plain

S = TypeVar("S", bound="Said")


class Said(Struct, forbid_unknown_fields=True):
    """A map that a peer may send. nil stands for what was left out, so every optional key is ``T | None = None``.

    Texts are measured in bytes, and a map may be wrong as a whole: what msgspec cannot see, ``__post_init__`` looks at;
    it raises Wrong. No field is of ``bytes``: msgspec takes a text given for one for base64. It is Any, with BYTES.
    """

    called: ClassVar[str] = "these options"


class Params(Said, array_like=True):
    """What stands behind the name of a method, by position."""

    hint: ClassVar[str] = ""
    """What is added when their number is wrong."""


class Wrong(ValueError):
    """``what`` is wrong with this field, or with the map itself if it is "", though each value is of its type."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def says(meaning: str, default: object = "") -> Meta:
    """What a field means and what stands for nil, as protocol.md has them."""
    return Meta(description=meaning, extra={"default": default})


BYTES = Meta(extra={"words": "bytes"})
"""Bytes, or a text that stands for its UTF-8."""
CURSOR = Meta(extra={"cursor": True})


def measure(longest: int, said: Said, *names: str) -> None:
    """Raises Wrong if one of these texts has more bytes than that."""
    for name in names:
        text = getattr(said, name)
        if text is not None and (size := len(text.encode())) > longest:
            raise Wrong(name, f"has {size:,} bytes, and may have {longest:,}")


def measure_each(longest: int, said: Said, name: str) -> None:
    """The same of the texts of an array, if it is there."""
    for index, text in enumerate(getattr(said, name) or ()):
        if (size := len(text.encode())) > longest:
            raise Wrong(f"{name}[{index}]", f"has {size:,} bytes, and may have {longest:,}")


# -- what protocol.md says of it ---------------------------------------------------------------------------------------


def on_the_page(kind: inspect.Type, notes: dict[str, Any]) -> str:
    """The cell of a table in protocol.md."""
    match kind:
        case inspect.IntType(ge=low, le=high):
            return f"integer, {low:,} or more" if high == INTEGER_MAX else f"integer, {low:,} to {high:,}"
        case inspect.LiteralType(values=words):
            return f"choice: {', '.join(f'`{word}`' for word in words)}"
        case inspect.VarTupleType(item_type=item, max_length=most):
            return f"array of {noun(plain(item)[0])}s, up to {most:,}"
        case inspect.StrType(min_length=least, max_length=most) if most and "cursor" not in notes:
            return f"text, {least} to {most} bytes" if least else f"text, up to {most} bytes"
        case inspect.StrType():
            return "cursor" if "cursor" in notes else "text"
    return {"true or false": "boolean"}.get(in_words(kind, notes), in_words(kind, notes).removeprefix("a "))


def form(params: type[Params]) -> str:
    """All ways to write the params of a method."""
    fields = fields_of(params)
    names = [
        f"[{noun(item)}, {noun(item)}, ...]"
        if isinstance(each.kind, inspect.VarTupleType) and (item := plain(each.kind.item_type)[0])
        else each.name
        for each in fields
    ]
    least = sum(each.is_required for each in fields)
    forms = [f"[{', '.join(names[:count])}]" for count in range(least, len(fields) + 1)]
    return " or ".join(forms) + (f"; {params.hint}" if params.hint else "")


# -- params ------------------------------------------------------------------------------------------------------------


def take(value: Any, said: type[S], where: str = "") -> S:
    """``value`` as what it is said to be. ``where`` is its path, none for the params of a method. Raises Invalid."""
    try:
        return convert(value, said)
    except ValidationError as error:
        if issubclass(said, Params):
            return _take_params(value, said, error)  # type: ignore[return-value]
        _look(value, inspect.type_info(said), {}, where)
        raise wrong(where, f"is refused: {error}") from error


def _take_params(params: list[Any], said: type[Params], error: ValidationError) -> Params:
    fields = fields_of(said)
    least, given = sum(each.is_required for each in fields), len(params)
    while given > least and params[given - 1] is None:
        given -= 1
    if not least <= given <= len(fields):
        raise Invalid(f"the params are {form(said)}; {len(params)} were given")
    if given < len(params):
        return take(params[:given], said)
    for each, value in zip(fields, params, strict=False):
        _look_at_field(value, each, each.name)
    raise _wrong_together(error, "") or Invalid(f"this is refused: {error}")


def wrong(where: str, what: str) -> Invalid:
    """``where`` is the path of the parameter, which the error tells apart too unless it holds a peer's own text."""
    if re.fullmatch(r"[\w.\[\]-]{1,100}", where):
        return Invalid(f"{where} {what}", path=where)
    return Invalid(f"{where} {what}")


def kind_of(value: Any) -> str:
    """What a peer sent, in MessagePack's words."""
    return _KINDS.get(type(value), "an extension value")


_KINDS = {type(None): "nil", str: "a text", bytes: "bytes", list: "an array", dict: "a map", bool: "a boolean",
          int: "an integer", float: "a float"}  # fmt: skip


# -- what is wrong with a value that was refused -----------------------------------------------------------------------

_TYPES: dict[type[inspect.Type], Any] = {
    inspect.IntType: int, inspect.LiteralType: str, inspect.StrType: str, inspect.BoolType: bool,
    inspect.VarTupleType: list, inspect.DictType: dict, inspect.StructType: dict,
}  # fmt: skip


def _said(kind: inspect.StructType) -> type[Said]:
    assert issubclass(kind.cls, Said)
    return kind.cls


def _look_at_field(value: Any, field: Field, where: str) -> None:
    if value is not None:
        _look(value, field.kind, field.notes, where)
    elif field.is_required:
        # A map that is missing has no name of its own to be missing by.
        nil_is_said = isinstance(field.kind, inspect.StructType | inspect.VarTupleType)
        raise wrong(where, f"is {in_words(field.kind, field.notes)}, not nil" if nil_is_said else "is missing")


def _look(value: Any, kind: inspect.Type, notes: dict[str, Any], where: str) -> None:
    """Raises Invalid if the value is not of this kind."""
    if isinstance(kind, inspect.AnyType):
        return
    if type(value) is not _TYPES[type(kind)]:
        raise wrong(where, f"is {in_words(kind, notes)}, not {kind_of(value)}")
    match kind:
        case inspect.IntType(ge=low, le=high):
            if not (low or 0) <= value <= (high or 0):
                raise wrong(where, f"is {in_words(kind, notes)}, not {value:,}")
        case inspect.LiteralType(values=words):
            if value not in words:
                raise wrong(where, f"is {in_words(kind, notes)}, not {value:.100}")
        case inspect.StrType():
            _look_at_text(value, kind, where)
        case inspect.VarTupleType():
            _look_at_array(value, kind, where)
        case inspect.DictType():
            _look_at_entries(value, kind, where)
        case inspect.StructType():
            _look_at_map(value, _said(kind), where)


def _look_at_text(value: str, kind: inspect.StrType, where: str) -> None:
    size = len(value.encode())
    if kind.min_length and not size:
        raise wrong(where, "is empty")
    if kind.max_length and size > kind.max_length:
        raise wrong(where, f"has {size:,} bytes, and may have {kind.max_length:,}")


def _look_at_array(value: list[Any], kind: inspect.VarTupleType, where: str) -> None:
    item, notes = plain(kind.item_type)
    if kind.min_length and not value:
        raise wrong(where, "is empty")
    if kind.max_length is not None and len(value) > kind.max_length:
        raise wrong(where, f"has {len(value):,} {noun(item)}s, and may have {kind.max_length:,}")
    for index, each in enumerate(value):
        if isinstance(item, inspect.StructType):
            with suppress(ValidationError):
                # Of a thousand jobs one is wrong: to look at the others like this would take ten times as long.
                convert(each, item.cls)
                continue
        _look(each, item, notes, f"{where}[{index}]")


def _look_at_entries(value: dict[Any, Any], kind: inspect.DictType, where: str) -> None:
    if kind.max_length is not None and len(value) > kind.max_length:
        raise wrong(where, f"has {len(value):,} entries, and may have {kind.max_length:,}")
    _look_at_keys(value, where)
    (name, _), (of, notes) = plain(kind.key_type), plain(kind.value_type)
    for key, each in value.items():
        most = name.max_length if isinstance(name, inspect.StrType) else None
        if most and not 0 < (size := len(key.encode())) <= most:
            raise wrong(where, f"has a name of {size:,} bytes, and one has 1 to {most:,}")
        _look(each, of, notes, f"{where}.{key:.100}")


def _look_at_map(value: dict[Any, Any], said: type[Said], where: str) -> None:
    _look_at_keys(value, where)
    fields = fields_of(said)
    known = [each.name for each in fields]
    if said.__struct_config__.forbid_unknown_fields:
        for key in value:
            if key not in known:
                raise wrong(f"{where}.{key:.100}", f"is not a key of {said.called}{nearest(key, known)}")
    for each in fields:
        _look_at_field(value.get(each.name), each, f"{where}.{each.name}")
    try:
        convert(value, said)
    except ValidationError as error:
        if bad := _wrong_together(error, where):
            raise bad from None


def _look_at_keys(value: dict[Any, Any], where: str) -> None:
    for key in value:
        if type(key) is not str:
            raise wrong(where, f"has a key that is {kind_of(key)}; the keys of a map are text")


def _wrong_together(error: ValidationError, where: str) -> Invalid | None:
    """What a map's own ``__post_init__`` had against it."""
    if not isinstance(error.__cause__, Wrong):
        return None
    return wrong(".".join(filter(None, (where, error.__cause__.field))), str(error.__cause__))
