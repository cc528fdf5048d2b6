"""Words that mean something to the daemon, for those who make up messages: its types know them."""

from msgspec import inspect

from periodic_client.words import fields_of
from periodicd.protocol import fields, order_fields
from periodicd.protocol.words import Params, Said

_ALL = {**vars(order_fields), **vars(fields)}
TYPES = [each for each in _ALL.values() if isinstance(each, type) and issubclass(each, Said)]
KEYS = sorted({each.name for said in TYPES if not issubclass(said, Params) for each in fields_of(said)})
CHOICES = sorted(
    {
        str(word)
        for said in TYPES
        for each in fields_of(said)
        if isinstance(each.kind, inspect.LiteralType)
        for word in each.kind.values
    }
)
WORDS = [*CHOICES, "f", "a", "parked", "1-1-1", "1-2-1-00", "j1", "j1.f-a", "9" * 300, ""]
