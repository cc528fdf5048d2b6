"""Who may come in, and how much of it: the token, rates of each address and of all, and what may be there at once.

It is told the time and holds no connection. All that it remembers of strangers has a limit: addresses that were not
heard of for longest are forgotten first, and have by then got back what they had used.
"""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

from image_workers.web.refusal import Refusal
from image_workers.web.settings import Rate, ServeConfig

_ADDRESSES_MAX = 10_000
_REQUESTS_A_MINUTE = 1200
"""Of one address: a page with a hundred pictures needs some hundreds."""
_PART_OF_ALL = 4
"""One address has no more than this part of what may be there at once."""
_MINUTE_S, _HOUR_S = 60.0, 3600.0
_BUSY_S = 5.0


class Bucket:
    """Holds `size`, refilled evenly in `period_s`; to take from it what is not there is refused."""

    def __init__(self, size: float, period_s: float, now_s: float) -> None:
        self._size = size
        self._a_second = size / period_s
        self._left = size
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Seconds to wait; 0 if it was taken."""
        self._left = min(self._size, self._left + (now_s - self._at_s) * self._a_second)
        self._at_s = now_s
        if self._left < amount:
            return (min(amount, self._size) - self._left) / self._a_second
        self._left -= amount
        return 0.0


class _Allowance:
    """What an address, or all together, may still do."""

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.uploads = Bucket(rate.uploads_a_minute, _MINUTE_S, now_s)
        self.bytes = Bucket(rate.megabytes_an_hour * 1_000_000, _HOUR_S, now_s)
        self.requests = Bucket(_REQUESTS_A_MINUTE, _MINUTE_S, now_s)


class Crowd:
    """How many there are at once, of all and of each address. With a `limit` of 1 that is one of all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._of_one = max(1, limit // _PART_OF_ALL)
        self._by_address: Counter[str] = Counter()

    def has_room(self, address: str | None) -> bool:
        """`address` None: only the limit of all counts."""
        if self._by_address.total() >= self._limit:
            return False
        return address is None or self._by_address[address] < self._of_one

    @contextmanager
    def member(self, address: str) -> Iterator[None]:
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def __len__(self) -> int:
        return self._by_address.total()


class Admission:
    """The rules of one server. `clock` tells seconds that only grow."""

    def __init__(self, config: ServeConfig, token: str | None, clock: Callable[[], float]) -> None:
        self._config = config
        self._token = token
        self._clock = clock
        self._total = _Allowance(config.total, clock())
        self._addresses: OrderedDict[str, _Allowance] = OrderedDict()
        self._uploads = Crowd(config.uploads_at_once)
        self._listeners = Crowd(config.listeners)

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def check_token(self, authorization: str | None) -> None:
        """Raise `Refusal` unless the header has the token, if there is one."""
        if self._token is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise Refusal(401, "uploads need the token of this server: Authorization: Bearer TOKEN")

    def request(self, address: str) -> None:
        """Of any kind. Raises `Refusal`."""
        if wait_s := self._of(address).requests.take(1, self._clock()):
            raise Refusal(429, "too many requests from your address", wait_s)

    @contextmanager
    def upload(self, address: str) -> Iterator[Callable[[int], None]]:
        """While an upload goes on; to be called with the number of bytes that came. Both raise `Refusal`."""
        if not self._uploads.has_room(address):
            raise Refusal(503, "too many uploads are under way; try again in some seconds", _BUSY_S)
        own, now_s = self._of(address), self._clock()
        if wait_s := own.uploads.take(1, now_s):
            raise Refusal(429, f"more than {self._config.per_address.uploads_a_minute} uploads a minute", wait_s)
        if wait_s := self._total.uploads.take(1, now_s):
            raise Refusal(429, "too many uploads by all together", wait_s)
        with self._uploads.member(address):
            yield lambda count: self._moved(own, count)

    @contextmanager
    def listener(self, address: str) -> Iterator[None]:
        if not self._listeners.has_room(address):
            raise Refusal(503, "too many listen for news; ask for the state instead, or try again", _BUSY_S)
        with self._listeners.member(address):
            yield

    def _moved(self, own: _Allowance, count: int) -> None:
        now_s = self._clock()
        if wait_s := own.bytes.take(count, now_s):
            raise Refusal(429, f"more than {self._config.per_address.megabytes_an_hour} MB an hour", wait_s)
        if wait_s := self._total.bytes.take(count, now_s):
            raise Refusal(429, "too many bytes by all together in this hour", wait_s)

    def _of(self, address: str) -> _Allowance:
        found = self._addresses.get(address) or _Allowance(self._config.per_address, self._clock())
        self._addresses[address] = found
        self._addresses.move_to_end(address)
        if len(self._addresses) > _ADDRESSES_MAX:
            self._addresses.popitem(last=False)
        return found


def neighbourhood(address: str) -> str:
    """The address, as one who may have many counts: with IPv6 its network of 64 bits, which one machine has whole."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)
