"""What is wrong with a daemon, told from what it says of itself: facts in, findings out. Asks nobody and shows nothing.

From when on something is to be watched, or is bad, stands at the top, with why; docs/operating.md names the same.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from periodic_client.amounts import size, span

Verdict = Literal["ok", "watch", "bad"]
VERDICTS: tuple[Verdict, ...] = ("ok", "watch", "bad")
"""The later, the worse."""

ROUND_TRIP_MS = (100, 2_000)
"""A step takes some milliseconds, under a flood some tens. After seconds workers' pings come late, too."""
CLOCK_MS = (1_000, 30_000)
"""A second is seen by whoever gives dates. After a restart a run waits 30 s for its worker; a clock that is off by more
makes any time in a log or of ``--at`` misleading."""
COMMIT_P99_US = (100_000, 1_000_000)
"""Every answer waits for a commit: of a disk that is well some ms. After 100 ms the daemon itself goes on beside it;
after a second, callers do not."""
WAL_BYTES = (256 * 2**20, 2**30)
"""10 to 50 MB on a busy daemon, more after a burst. What grows on is held by a program that reads and does not end."""
FREE_BYTES = (2**30, 256 * 2**20)
"""A full disk ends the daemon. The WAL of a burst takes some 100 MB; a gigabyte leaves time to act."""
LATENESS_P50_MS = 1_000
"""Milliseconds where there are workers; not the worst, which one busy minute makes. It tells of the last thousand runs,
perhaps of yesterday's, so it is never bad: what is late now is overdue."""
NO_WORKER_MS = 10_000
"""Due for so long and nobody there: workers that are started anew are back by then."""
OVERDUE_MS = (60_000, 600_000)
"""Due for so long though workers are there: more than one run behind, then more than a burst explains."""
HELD_MS = 600_000
"""The default lease: who holds a lock for longer has asked for more time, or was given it."""
LEASE_OVER_MS = 5_000
"""The daemon ends a run within a second of its lease."""
SILENT_PARTS = 2
"""Silent for half of what it may be, so some pings did not come: workers send one each quarter of that."""
DEAD_WITHIN_MS = 3_600_000
DEAD_LATELY = (1, 100)
"""One may be the job's own fault. A hundred within the hour are that of something that they share."""
USED = (0.8, 0.95)
"""Parts of a limit."""
NAMED = 3
"""So many of what is wrong are named, the others counted."""


class Finding(NamedTuple):
    check: str
    verdict: Verdict
    found: str
    todo: str = ""
    """What to do about it, if it is not ok."""


class Why(NamedTuple):
    """Of one overdue job, what holds it back."""

    func: str
    name: str
    sentences: Sequence[str]


class Facts(NamedTuple):
    """What the daemon said, with the keys of protocol.md, and what was measured of it."""

    url: str
    version: str
    """Of this side."""
    round_trip_ms: float
    clock_ms: float
    """How much the daemon's clock is ahead of this machine's."""
    status: dict[str, Any]
    """With all functions."""
    workers: Sequence[dict[str, Any]]
    locks: Sequence[dict[str, Any]]
    """Those in whose lines somebody stands."""
    leases: dict[int, int | None]
    """Until when the holders of these have theirs, by the job's id."""
    dead_lately: int
    """Dead jobs that were due within DEAD_WITHIN_MS."""
    why: Why | None

    @property
    def functions(self) -> Sequence[dict[str, Any]]:
        functions: Sequence[dict[str, Any]] = self.status["functions"]
        return functions

    def overdue_ms(self, function: dict[str, Any]) -> int:
        """For how long its earliest waiting job has been due; 0 if none is."""
        due_at_ms = function["due_at_ms"]
        return 0 if due_at_ms is None else max(0, int(self.status["now_at_ms"] - due_at_ms))


def worst(findings: Sequence[Finding]) -> Verdict:
    return max((each.verdict for each in findings), key=VERDICTS.index, default="ok")


def examine(facts: Facts) -> list[Finding]:
    """A finding for each check, in one order; what an older daemon does not tell is left out."""
    return [
        _connection(facts),
        _versions(facts),
        _clock(facts),
        _durability(facts),
        _commits(facts),
        *_disk(facts),
        _lateness(facts),
        _no_worker(facts),
        _overdue(facts),
        _paused(facts),
        _locks(facts),
        _silent(facts),
        _dead(facts),
        *_limits(facts),
    ]


def unreachable(error: str) -> Finding:
    return Finding("connection", "bad", error, "see whether periodicd runs (systemctl status periodicd), and its log")


def graded(value: float, limits: tuple[float, float]) -> Verdict:
    """``limits``: from when on it is to be watched, and bad."""
    watch, bad = limits
    return "bad" if value >= bad else "watch" if value >= watch else "ok"


def _low(value: float, limits: tuple[float, float]) -> Verdict:
    """Where less is worse."""
    return graded(-value, (-limits[0], -limits[1]))


def _listed(what: Sequence[str]) -> str:
    more = len(what) - NAMED
    return ", ".join(what[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


# -- the daemon --------------------------------------------------------------------------------------------------------


def _connection(facts: Facts) -> Finding:
    found = f"{facts.url} answers in {facts.round_trip_ms:.1f} ms"
    todo = "look at the load of the daemon's machine, and at the way to it"
    return Finding("connection", graded(facts.round_trip_ms, ROUND_TRIP_MS), found, todo)


def _versions(facts: Facts) -> Finding:
    status = facts.status
    _, _, version = status["server"].partition(" ")
    found = f"{status['server']} ({status['build']}), up {span(status['uptime_ms'])}, boot {status['boot']}"
    if version == facts.version:
        return Finding("versions", "ok", f"{found}; this is {facts.version}, too")
    return Finding("versions", "watch", f"{found}; this is {facts.version}", "install the same version on both sides")


def _clock(facts: Facts) -> Finding:
    off_ms = abs(facts.clock_ms)
    # It tells whole milliseconds, of some moment between question and answer.
    if off_ms <= facts.round_trip_ms + 1:
        return Finding("clock", "ok", "the daemon's clock and this machine's agree")
    way = "ahead of" if facts.clock_ms > 0 else "behind"
    found = f"the daemon's clock is {span(off_ms)} {way} this machine's"
    return Finding("clock", graded(off_ms, CLOCK_MS), found, "let NTP set the clocks of both machines")


def _durability(facts: Facts) -> Finding:
    match facts.status["durability"]:
        case "full":
            return Finding("durability", "ok", "full: what is acknowledged survives a power cut")
        case "memory":
            return Finding("durability", "watch", "memory: nothing survives the daemon", "give it a file: --store")
        case word:
            found = f"{word}: a power cut may lose the last moments"
            return Finding("durability", "watch", found, 'set durability = "full", unless that is meant')


def _commits(facts: Facts) -> Finding:
    p50_us, p99_us = (facts.status[key] for key in ("commit_p50_us", "commit_p99_us"))
    if p99_us is None:
        return Finding("commits", "ok", "none yet")
    found = f"p50 {p50_us / 1000:.1f} ms, p99 {p99_us / 1000:.1f} ms"
    todo = "the disk is slow: look at what else writes to it (iostat -x 1), and at dmesg"
    return Finding("commits", graded(p99_us, COMMIT_P99_US), found, todo)


def _disk(facts: Facts) -> Iterator[Finding]:
    store_bytes, wal_bytes, free_bytes = (
        facts.status.get(key) for key in ("store_bytes", "wal_bytes", "free_bytes")
    )  # fmt: skip
    if not store_bytes:
        return
    yield Finding("store", "ok", size(store_bytes))
    todo = "see who has the file open and ends no transaction: fuser -v on it; a stop of the daemon empties the WAL"
    yield Finding("wal", graded(wal_bytes or 0, WAL_BYTES), size(wal_bytes or 0), todo)
    if free_bytes is None:
        return
    verdict = _low(free_bytes, FREE_BYTES)
    found = f"{size(free_bytes)} free"
    if verdict == "ok" and free_bytes < store_bytes:
        verdict, found = "watch", f"{found}, less than the store has: no backup of it fits there"
    yield Finding("disk", verdict, found, "give the disk room: the daemon ends when it is full")


# -- functions ---------------------------------------------------------------------------------------------------------


def _lateness(facts: Facts) -> Finding:
    # One that is to be late by what is set of it says nothing about workers.
    told = [each for each in facts.functions if each["lateness_p50_ms"] is not None and not _is_held_back(each)]
    late = sorted(told, key=lambda each: -int(each["lateness_p50_ms"]))
    named = [
        f"{each['func']} p50 {span(each['lateness_p50_ms'])}, p99 {span(each['lateness_p99_ms'])}"
        for each in late
        if each is late[0] or each["lateness_p50_ms"] >= LATENESS_P50_MS
    ]
    if not named:
        return Finding("lateness", "ok", "nothing has run lately")
    if late[0]["lateness_p50_ms"] < LATENESS_P50_MS:
        return Finding("lateness", "ok", f"{named[0]} at the most, of its last runs")
    todo = "more workers, or a larger limit, unless they have just caught up"
    return Finding("lateness", "watch", f"of the last runs: {_listed(named)}", todo)


def _is_held_back(function: dict[str, Any]) -> bool:
    settings = function["settings"]
    return bool(function["paused"] or settings.get("rate") or settings.get("running_max"))


def _due(facts: Facts, at_least_ms: int) -> list[dict[str, Any]]:
    """Functions with a job that has been due for so long, and not for the sake of a pause; the longest first."""
    due = [each for each in facts.functions if not each["paused"] and facts.overdue_ms(each) >= at_least_ms]
    return sorted(due, key=lambda each: -facts.overdue_ms(each))


def _no_worker(facts: Facts) -> Finding:
    alone = [each for each in _due(facts, NO_WORKER_MS) if not each["workers"]]
    if not alone:
        return Finding("no worker", "ok", "every function with due jobs has one")
    named = [
        f"{each['func']} ({each['waiting']:,} waiting, the oldest due for {span(facts.overdue_ms(each))})"
        for each in alone
    ]
    todo = "start its worker; its own log, or the kernel's, says why it went"
    return Finding("no worker", "bad", _listed(named), todo)


def _overdue(facts: Facts) -> Finding:
    late = [each for each in _due(facts, OVERDUE_MS[0]) if each["workers"]]
    if not late:
        return Finding("overdue", "ok", f"nothing that has a worker has been due for {span(OVERDUE_MS[0])}")
    oldest_ms = facts.overdue_ms(late[0])
    found = _listed([f"{each['func']} for {span(facts.overdue_ms(each))}" for each in late])
    todo = "periodic explain says what holds a job back"
    if facts.why is not None:
        found += f"; {facts.why.name}: {', '.join(facts.why.sentences) or 'about to run'}"
        todo = f"periodic explain {shlex.quote(facts.why.func)} {shlex.quote(facts.why.name)}"
    return Finding("overdue", graded(oldest_ms, OVERDUE_MS), found, todo)


def _paused(facts: Facts) -> Finding:
    paused = [each for each in facts.functions if each["paused"]]
    due = sorted((each for each in paused if facts.overdue_ms(each)), key=lambda each: -facts.overdue_ms(each))
    if not due:
        return Finding("paused", "ok", f"{len(paused):,} functions, without due jobs" if paused else "no function is")
    named = [f"{each['func']} ({each['waiting']:,} waiting, for {span(facts.overdue_ms(each))})" for each in due]
    return Finding("paused", "watch", _listed(named), f"periodic resume {shlex.quote(due[0]['func'])}, when it may run")


# -- locks, workers, the dead ------------------------------------------------------------------------------------------


def _locks(facts: Facts) -> Finding:
    lines = sorted((lock for lock in facts.locks if lock["parked"]), key=lambda lock: -int(lock["parked"]))
    found = [finding for lock in lines for finding in _stuck(facts, lock)]
    if found:
        found.sort(key=lambda each: each.verdict != "bad")
        shown = _listed([each.found for each in found])
        return Finding("locks", found[0].verdict, shown, found[0].todo)
    if not lines:
        return Finding("locks", "ok", "nobody stands in line")
    return Finding("locks", "ok", f"{len(lines):,} with somebody in line, none held for {span(HELD_MS)}")


def _stuck(facts: Facts, lock: dict[str, Any]) -> Iterator[Finding]:
    """What holds up the line of this lock for longer than it should."""
    now_ms, name, parked = facts.status["now_at_ms"], lock["lock"], f"{lock['parked']:,} in line"
    if not lock["used"]:
        todo = "periodic list --where state=parked, and periodic explain of one: it may want more than the capacity"
        yield Finding("", "watch", f"{name} is held by nobody, and has {parked}", todo)
    for holder in lock["holders"]:
        held_ms = now_ms - (holder["started_at_ms"] or now_ms)
        lease_until_at_ms = facts.leases.get(holder["id"])
        who = f"{shlex.quote(holder['func'])} {shlex.quote(holder['name'])}"
        end = f"periodic get {who}, then periodic end-run {who}"
        if lease_until_at_ms is not None and lease_until_at_ms + LEASE_OVER_MS < now_ms:
            over = span(now_ms - lease_until_at_ms)
            yield Finding("", "bad", f"{name} is held by {who} {over} past its lease, {parked}", end)
        elif held_ms >= HELD_MS:
            yield Finding("", "watch", f"{name} has been held by {who} for {span(held_ms)}, {parked}", end)


def _silent(facts: Facts) -> Finding:
    silent = [each for each in facts.workers if is_silent(each)]
    if not silent:
        return Finding("workers", "ok", f"{len(facts.workers):,} subscribed, none of them silent")
    named = [
        f"{each['client'] or 'a worker'} (connection {each['connection']}) silent for {span(each['silent_ms'])} of the"
        f" {span(each['silence_ms'])} that it may be, with {each['running']:,} runs"
        for each in silent
    ]
    return Finding("workers", "watch", _listed(named), "it hangs, or its machine does: look at it, and start it again")


def is_silent(worker: dict[str, Any]) -> bool:
    return bool(worker["silent_ms"] * SILENT_PARTS >= worker["silence_ms"])


def _dead(facts: Facts) -> Finding:
    dead = sum(each["dead"] for each in facts.functions)
    found = f"{facts.dead_lately:,} of {dead:,} were due within the last {span(DEAD_WITHIN_MS)}"
    todo = "periodic dead says why; mend that, then periodic requeue --where state=dead --every 1s"
    return Finding("dead", graded(facts.dead_lately, DEAD_LATELY), found if dead else "none", todo)


# -- limits ------------------------------------------------------------------------------------------------------------


def _limits(facts: Facts) -> Iterator[Finding]:
    status = facts.status
    dead = sum(each["dead"] for each in facts.functions)
    for check, used, key, todo in (
        ("connections", status["connections"], "connections_max", "close what is idle, or raise `connections`"),
        ("schedules", status.get("schedules"), "schedules_max", "remove schedules that nobody needs"),
    ):
        if (limit := status.get(key)) and used is not None:
            yield Finding(check, graded(used / limit, USED), f"{used:,} of {limit:,}", todo)
    for check, used, key, todo in (
        ("dead kept", dead, "dead_max", "requeue or remove them, or raise `dead_kept`: the oldest go first"),
        ("results kept", status.get("results"), "results_max", "keep them for less long (--result)"),
        ("results' bytes", status.get("results_bytes"), "results_bytes_max", "keep them for less long (--result)"),
    ):
        if (limit := status.get(key)) and used is not None:
            # Nothing is refused past it.
            verdict: Verdict = "watch" if used / limit >= USED[0] else "ok"
            yield Finding(check, verdict, f"{used:,} of {limit:,}", todo)
    yield _queues(facts)


def _queues(facts: Facts) -> Finding:
    """Functions that may have so many jobs and no more."""
    bounded = [(each, each["settings"]["queue_max"]) for each in facts.functions if each["settings"].get("queue_max")]
    used = sorted(((_live(each) / limit, each["func"], limit) for each, limit in bounded), reverse=True)
    near = [f"{func} has {part:.0%} of {limit:,}" for part, func, limit in used if part >= USED[0]]
    if not near:
        found = f"{len(bounded):,} functions have a queue_max, and room" if bounded else "no function has a queue_max"
        return Finding("queues", "ok", found)
    todo = "submits are refused past it: more workers, or periodic function set --queue-max"
    return Finding("queues", graded(used[0][0], USED), _listed(near), todo)


def _live(function: dict[str, Any]) -> int:
    return sum(function[state] for state in ("waiting", "parked", "running", "behind"))
