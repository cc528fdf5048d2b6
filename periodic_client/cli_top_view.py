"""How ``periodic top`` looks: gauges and what was chosen by keys in, lines out. No I/O; the time is the daemon's.

A table for functions, one for workers, one for locks. One of them has the focus: it is scrolled, and has the room that
the others leave. On a wide terminal there are more columns, and longer names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from periodic_client import health
from periodic_client.amounts import count, size, span
from periodic_client.cli_output import local_time, visible
from periodic_client.gauges import FunctionGauge, Gauges, Row
from periodic_client.screen import Line, Span, Style, cells, fit

Table = str
TABLES: tuple[Table, ...] = ("functions", "workers", "locks")
KEYS = "q quit  <> sort  r reverse  / prefix  Tab table  arrows  space hold  !bad ?watch"
MARKS: dict[Style, str] = {"bad": "!", "watch": "?"}
"""Before a row, for who sees no colours."""
OTHERS_PART = 5
"""A table without the focus has up to a fifth of the lines."""


class Column(NamedTuple):
    title: str
    width: int
    text: Callable[[Any], str]
    order: Callable[[Any], Any] | None = None
    """What it is sorted by; numbers begin with the largest."""
    wide: int = 0
    """Only on a terminal of so many columns."""


def _per_s(rate: float | None) -> str:
    return "-" if rate is None else count(rate)


def _ms(value: float | None) -> str:
    return "-" if value is None else span(value)


FUNCTION_COLUMNS = (
    Column("wkrs", 4, lambda f: count(f.row["workers"]), lambda f: f.row["workers"]),
    Column("start/s", 7, lambda f: _per_s(f.started_per_s), lambda f: f.started_per_s or 0),
    Column("run/room", 9, lambda f: f"{count(f.row['running'])}/{count(f.room)}", lambda f: f.row["running"]),
    Column("wait", 5, lambda f: count(f.row["waiting"]), lambda f: f.row["waiting"]),
    Column("parked", 6, lambda f: count(f.row["parked"]), lambda f: f.row["parked"], 90),
    Column("behind", 6, lambda f: count(f.row["behind"]), lambda f: f.row["behind"], 110),
    Column("overdue", 7, lambda f: _ms(f.overdue_ms or None), lambda f: f.overdue_ms),
    Column("p50", 5, lambda f: _ms(f.row["lateness_p50_ms"]), lambda f: f.row["lateness_p50_ms"] or 0),
    Column("p99", 5, lambda f: _ms(f.row["lateness_p99_ms"]), lambda f: f.row["lateness_p99_ms"] or 0),
    Column("max", 5, lambda f: _ms(f.row["lateness_max_ms"]), lambda f: f.row["lateness_max_ms"] or 0, 110),
    Column("dead", 5, lambda f: count(f.row["dead"]), lambda f: f.row["dead"]),
    Column("set", 16, lambda f: _settings(f.row), None, 130),
)
SORTS = {"name": lambda f: f.row["func"]} | {each.title: each.order for each in FUNCTION_COLUMNS if each.order}


def _settings(row: Row) -> str:
    said = ["paused"] if row["paused"] else []
    settings = row["settings"]
    if settings.get("rate"):
        said.append(f"{settings['rate']['count']}/{span(settings['rate']['per_ms'])}")
    if settings.get("running_max"):
        said.append(f"max {settings['running_max']}")
    return " ".join(said) or "-"


@dataclass(slots=True)
class Choices:
    """What the keys have chosen."""

    sort: str = "overdue"
    reverse: bool = False
    prefix: str = ""
    focus: Table = "functions"
    typing: str | None = None
    """A prefix that is being typed."""
    held: bool = False
    first: dict[Table, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    """How far each table is scrolled."""
    rows: int = 1
    """Of the focused table on the screen, when it was shown last."""
    sorts: Sequence[str] = ("name",)
    """What functions can be sorted by: of the columns those that were shown last."""

    def press(self, key: str) -> None:
        """What the key means, but to quit."""
        if self.typing is not None:
            self._type(self.typing, key)
            return
        step = {"left": -1, "<": -1, "right": 1, ">": 1}.get(key)
        scroll = {"up": -1, "down": 1, "page up": -self.rows, "page down": self.rows, "home": -(10**9)}.get(key)
        if step is not None:
            at = self.sorts.index(self.sort) if self.sort in self.sorts else 0
            self.sort = self.sorts[(at + step) % len(self.sorts)]
        elif scroll is not None:
            self.first[self.focus] = max(0, self.first[self.focus] + scroll)
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "/":
            self.typing = self.prefix
        elif key == "escape":
            self.prefix = ""
        elif key == "tab":
            self.focus = TABLES[(TABLES.index(self.focus) + 1) % len(TABLES)]
        elif key == " ":
            self.held = not self.held

    def _type(self, typed: str, key: str) -> None:
        if key == "enter":
            self.prefix, self.typing = typed, None
        elif key == "escape":
            self.typing = None
        elif key == "rub":
            self.typing = typed[:-1]
        elif len(key) == 1:
            self.typing = typed + key


def view(gauges: Gauges, choices: Choices, url: str, width: int, height: int | None, message: str = "") -> list[Line]:
    """The lines of the screen; ``height`` None: all rows of all tables, and no keys."""
    head = [*_head(gauges, url, width)]
    tables = {
        "functions": _functions(gauges, choices, width),
        "workers": _workers(gauges, width),
        "locks": _locks(gauges, width),
    }
    if height is None:
        return [*head, *(line for table in tables.values() for line in [(), *table])]
    rooms = _rooms({name: len(table) for name, table in tables.items()}, choices.focus, height - len(head) - 1)
    body: list[Line] = []
    for name, table in tables.items():
        title, *rows = _marked(table) if name == choices.focus else table
        shown = max(0, rooms[name] - 1)
        first = choices.first[name] = min(choices.first[name], max(0, len(rows) - shown))
        if name == choices.focus:
            choices.rows = max(1, shown)
        body += [title, *rows[first : first + shown]] if rooms[name] else []
    body += [()] * (height - len(head) - 1 - len(body))
    return [*head, *body, _foot(choices, width, message)]


def _marked(table: list[Line]) -> list[Line]:
    """The one that has the focus."""
    (title,), *rows = table
    return [[title._replace(text=">" + title.text[1:])], *rows]


def _rooms(lengths: dict[Table, int], focus: Table, lines: int) -> dict[Table, int]:
    """How many lines each table has, its title among them: a part for each of the others, then what the focus needs,
    and what is left then to whoever has more to show.
    """
    most = max(2, lines // OTHERS_PART)
    rooms = {name: min(length, most) for name, length in lengths.items()}
    for name in (focus, *lengths):
        left = lines - sum(rooms.values())
        rooms[name] = max(0, min(lengths[name], rooms[name] + left))
    return rooms


def _foot(choices: Choices, width: int, message: str) -> Line:
    if choices.typing is not None:
        return [Span(fit(f"only functions that begin with: {visible(choices.typing)}_", width), "strong")]
    if message:
        return [Span(fit(visible(message), width), "bad")]
    return [Span(fit(KEYS + ("  HELD" if choices.held else ""), width), "title")]


# -- the head ----------------------------------------------------------------------------------------------------------


def _head(gauges: Gauges, url: str, width: int) -> list[Line]:
    head, rates = gauges.head, gauges.per_s
    if not head:
        return [[Span(url)], [], []]
    time = local_time(head["now_at_ms"]).split(" ")[1][:8]
    about = f"{head['server']} {head['build']}  {url}  up {span(head['uptime_ms'])}  boot {head['boot']}"
    first = [Span(fit(visible(about), max(0, width - len(time) - 1)), "strong"), Span(f" {time}")]
    flow = [f"{word} {_per_s(rates.get(key))}/s" for word, key in (
        ("in", "submitted"), ("started", "started"), ("done", "done"), ("failed", "failed"), ("later", "later"),
    )]  # fmt: skip
    disk = [_commits(head), _connections(head), *_sizes(head)]
    return [first, _joined([Span(f"running {head['running']:,}"), *map(Span, flow)]), _joined(disk)]


def _joined(spans: Sequence[Span]) -> Line:
    return [each for span_ in spans for each in (span_, Span("  "))]


def _commits(head: Row) -> Span:
    p50_us, p99_us = head["commit_p50_us"], head["commit_p99_us"]
    if p99_us is None:
        return Span("commit -")
    return Span(f"commit p50 {p50_us / 1000:.1f} p99 {p99_us / 1000:.1f}ms", _style(p99_us, health.COMMIT_P99_US))


def _connections(head: Row) -> Span:
    limit = head.get("connections_max")
    if not limit:
        return Span(f"conn {head['connections']:,}")
    return Span(f"conn {head['connections']:,}/{limit:,}", _style(head["connections"] / limit, health.USED))


def _sizes(head: Row) -> list[Span]:
    free_bytes = head.get("free_bytes")
    if free_bytes is None:
        return []
    low = _style(-free_bytes, (-health.FREE_BYTES[0], -health.FREE_BYTES[1]))
    return [
        Span(f"free {size(free_bytes)}", low),
        Span(f"wal {size(head['wal_bytes'])}", _style(head["wal_bytes"], health.WAL_BYTES)),
        Span(f"store {size(head['store_bytes'])}"),
    ]


def _style(value: float, limits: tuple[float, float]) -> Style:
    verdict = health.graded(value, limits)
    return "" if verdict == "ok" else verdict


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(
    title: str, columns: Sequence[Column], rows: Sequence[tuple[str, Style, Any]], width: int, sort: str = ""
) -> list[Line]:
    """``rows``: the name of each, what it looks like, and what its columns are made of. The name has what is left.

    The column by which they are sorted has its title in capitals.
    """
    columns = [each for each in columns if each.wide <= width]
    name_width = max(8, width - 2 - sum(each.width + 1 for each in columns))
    named = [each.title.upper() if each.title == sort else each.title for each in columns]
    titles = "".join(" " + fit(each, column.width, right=True) for each, column in zip(named, columns, strict=True))
    lines: list[Line] = [[Span(fit(f"  {title}", name_width + 2) + titles, "title")]]
    for name, style, made_of in rows:
        cut = "" if cells(name) <= name_width else "~"
        text = fit(fit(name, name_width - len(cut)) + cut, name_width)
        text += "".join(" " + fit(each.text(made_of), each.width, right=True) for each in columns)
        lines.append([Span(f"{MARKS.get(style, ' ')} {text}", style)])
    return lines


def _functions(gauges: Gauges, choices: Choices, width: int) -> list[Line]:
    found = sorted(gauges.functions(), key=lambda each: each.row["func"])
    by_name = choices.sort == "name"
    choices.sorts = ["name", *(each.title for each in FUNCTION_COLUMNS if each.order and each.wide <= width)]
    # The sort keeps the order of names among those that are equal.
    found.sort(key=SORTS[choices.sort], reverse=choices.reverse != (not by_name))
    rows = [(visible(each.row["func"]), _looks(each), each) for each in found]
    title = f"{len(rows):,} {'FUNCTIONS' if by_name else 'functions'}"
    only = f" {visible(choices.prefix)}*" if choices.prefix else ""
    return _table(title + only, FUNCTION_COLUMNS, rows, width, choices.sort)


def _looks(gauge: FunctionGauge) -> Style:
    row, overdue_ms = gauge.row, gauge.overdue_ms
    if row["paused"]:
        return "watch" if overdue_ms else "faint"
    if not row["workers"] and overdue_ms >= health.NO_WORKER_MS:
        return "bad"
    if (style := _style(overdue_ms, health.OVERDUE_MS)) != "":
        return style
    return "" if row["running"] or row["waiting"] or row["parked"] or gauge.started_per_s else "faint"


WORKER_COLUMNS = (
    Column("run/room", 9, lambda w: f"{count(w['running'])}/{count(w['credit'])}"),
    Column("silent", 6, lambda w: span(w["silent_ms"])),
    Column("functions", 9, lambda w: count(w["function_count"])),
    Column("longest run", 24, lambda w: w["longest"]),
)


def _workers(gauges: Gauges, width: int) -> list[Line]:
    now_at_ms, rows = gauges.head.get("now_at_ms", 0), []
    for worker in gauges.workers:
        begun = [(now_at_ms - each["started_at_ms"], each) for each in worker["runs"] if each["started_at_ms"]]
        longest_ms, run = max(begun, key=lambda each: each[0], default=(-1, None))
        longest = "-" if run is None else visible(f"{span(longest_ms)} {run['func']} {run['name']}")
        looks: Style = "watch" if health.is_silent(worker) else ""
        name = visible(f"{worker['client'] or 'a worker'} ({worker['connection']})")
        rows.append((-longest_ms, (name, looks, worker | {"longest": longest})))
    rows.sort(key=lambda each: each[0])
    columns = [each._replace(width=each.width + max(0, width - 100) // 2) if each.width == 24 else each
               for each in WORKER_COLUMNS]  # fmt: skip
    return _table(f"{len(rows):,} workers", columns, [row for _, row in rows], width)


LOCK_COLUMNS = (
    Column("used", 9, lambda k: f"{count(k['used'])}/{count(k['capacity'])}"),
    Column("line", 5, lambda k: "100+" if k["parked"] > 100 else str(k["parked"])),
    Column("held", 6, lambda k: span(k["held_ms"])),
    Column("by", 28, lambda k: k["by"]),
)


def _locks(gauges: Gauges, width: int) -> list[Line]:
    """Those with a line first, and the one that is held for longest."""
    rows = []
    for lock in gauges.locks:
        held_ms = gauges.held_ms(lock)
        oldest = min(lock["holders"], key=lambda each: each["started_at_ms"] or 0, default=None)
        by = "nobody" if oldest is None else visible(f"{oldest['func']} {oldest['name']}")
        style: Style = "watch" if lock["parked"] and (held_ms >= health.HELD_MS or not lock["used"]) else ""
        row = visible(lock["lock"]), style, lock | {"held_ms": held_ms, "by": by}
        rows.append(((not lock["parked"], -held_ms, lock["lock"]), row))
    rows.sort(key=lambda each: each[0])
    columns = [each._replace(width=each.width + max(0, width - 100) // 2) if each.title == "by" else each
               for each in LOCK_COLUMNS]  # fmt: skip
    return _table(f"{len(rows):,} locks held or waited for", columns, [row for _, row in rows], width)
