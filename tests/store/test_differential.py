"""The same random operations on the model and on SQLite: every answer and, at each step, everything that is kept."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from periodicd.calendar import Recurrence
from periodicd.function import Function, Rate
from periodicd.job import Broadcast, Error, State
from periodicd.lock import Lock
from periodicd.retry import Retry
from periodicd.schedule import Schedule
from periodicd.store import ops, order, room
from periodicd.store.memory import MemoryStore
from periodicd.store.ops import Key, Op
from periodicd.store.sqlite import SqliteStore
from tests.store.conformance import job

FUNCS, NAMES = "fg", ("a", "ab", "b")
ids = st.integers(1, 40)
int64 = st.integers(-(2**63), 2**63 - 1)
millis = st.integers(0, 50) | st.integers(0, 2**53)


existing = st.sampled_from(get_args(ops.Existing))
broadcasts = st.builds(Broadcast, st.integers(0, 9), st.integers(0, 9))


@st.composite
def puts(draw: st.DrawFn) -> ops.Put:
    fields: dict[str, Any] = {
        "func": draw(st.sampled_from(FUNCS)),
        "name": draw(st.sampled_from(NAMES)),
        "workload": b"x" * draw(st.sampled_from([0, 3, 4096, 4097, 9_000])),
        "due_at_ms": draw(millis),
        "priority": draw(st.integers(-2, 2)),
        "lease_ms": draw(st.integers(1_000, 2_000)),
        "dated": draw(st.booleans()),
        "result_ms": draw(st.sampled_from([0, 0, 20, 2**31])),
        "run_max_ms": draw(st.none() | st.integers(1_000, 2_000)),
        "expires_at_ms": draw(st.none() | millis),
        "broadcast": draw(st.none() | broadcasts),
        "headers": draw(st.none() | st.just({"a": "ä"})),
        "locks": draw(st.none() | st.dictionaries(st.sampled_from("kl"), st.integers(1, 3), min_size=1)),
        "retry": Retry(limit=draw(st.integers(0, 3)), jitter_percent=draw(st.sampled_from([0, 100]))),
    }
    return ops.Put(job(0, **fields), draw(existing), draw(st.none() | st.integers(1, 4)))


identities = st.tuples(st.sampled_from(FUNCS), st.sampled_from(NAMES))
handles = st.sampled_from(["1-1-1", "2-2-2"])
kept_handles = st.none() | handles
counts = st.integers(0, 9)
group_ids = st.none() | ids
members = st.builds(lambda put, group_id: ops.Put(replace(put.job, group_id=group_id), put.existing), puts(), group_ids)
thens = puts().map(lambda put: ops.Put(put.job, put.existing))
ends = st.builds(
    ops.End, ids, st.none() | handles, millis, st.lists(members, max_size=2).map(tuple), then=st.none() | thens
)
errors = st.lists(st.builds(Error, counts, millis, st.text(max_size=5)), max_size=2).map(tuple)
histories = st.builds(
    ops.History, counts, counts, counts, counts, st.booleans(), st.text(max_size=5), errors, st.none() | millis
)
functions = st.builds(
    Function, st.booleans(), st.none() | counts, st.none() | st.builds(Rate, counts, millis), st.none() | counts,
    st.none() | millis, st.none() | st.just(Retry(3, "fixed")), st.none() | counts, int64,
)  # fmt: skip
locks = st.builds(Lock, counts, st.none() | st.builds(Rate, counts, millis), int64)
schedules = st.builds(
    Schedule, st.builds(Recurrence, st.none() | millis, st.none() | st.just("* * * * *"), from_at_ms=millis),
    st.just({"func": "f", "workload": b"w"}), counts, st.sampled_from(["skip", "once"]),
    st.sampled_from(["skip", "queue"]), st.booleans(), millis, counts,
)  # fmt: skip
steps = st.lists(
    puts()
    | st.builds(
        lambda key, at_ms, i, state: ops.Remove(key[0], key[1], at_ms, i, i and state), identities, millis,
        st.none() | ids, st.none() | st.sampled_from(State),
    )
    | st.builds(lambda key, due, i: ops.Requeue(key[0], key[1], 0, due, i), identities, millis, st.none() | ids)
    | st.builds(ops.Claim, ids, handles, counts, int64, millis, millis)
    | st.builds(
        lambda key, at_ms, why, i, state: ops.Cancel(key[0], key[1], at_ms, why, i, i and state),
        identities, millis, st.text(max_size=3), st.none() | ids, st.none() | st.sampled_from(State),
    )
    | st.builds(
        lambda key, due, dated, priority, i, state: ops.Move(key[0], key[1], due, dated, priority, i, i and state),
        identities, st.none() | millis, st.booleans(), st.none() | st.integers(-2, 2), st.none() | ids,
        st.none() | st.sampled_from(State),
    )
    | st.builds(ops.Extend, ids, int64)
    | st.builds(ops.Delete, ends, st.sampled_from(["done", "cancelled"]))
    | st.builds(ops.Release, ends, millis, kept_handles, histories, st.none() | st.just({}) | st.just({"k": 2}))
    | st.builds(ops.Bury, ends, millis, kept_handles, histories)
    | st.builds(ops.Tally, ends, broadcasts)
    | st.builds(ops.Purge, millis, counts, counts)
    | st.builds(ops.Forget, millis, counts, st.integers(0, 20), counts)
    | st.builds(ops.FetchEnd, ids)
    | st.builds(ops.Shift, millis)
    | st.just(ops.Boot())
    | st.builds(order.SetLock, st.sampled_from("kl"), st.none() | locks)
    | st.builds(lambda i: order.Park(job(i)), ids)
    | st.builds(order.Unpark, ids, millis)
    | st.builds(order.Heads, st.sets(st.sampled_from("kl")).map(sorted).map(tuple))
    | st.builds(lambda: order.Left())
    | st.builds(order.PutGroup, puts(), st.lists(puts(), max_size=3).map(tuple), st.booleans())
    | st.builds(lambda: order.Freed())
    | st.builds(order.Broadcasts, millis, st.integers(1, 3))
    | st.builds(order.Expire, millis, st.integers(1, 3))
    | st.builds(order.SetSchedule, st.sampled_from("st"), st.none() | schedules)
    | st.builds(order.Fire, st.sampled_from("st"), schedules, puts(), st.none() | ids)
    | st.builds(order.LineLengths, st.lists(st.sampled_from("kl")).map(tuple), st.integers(1, 3))
    | st.builds(order.SetFunction, st.sampled_from(FUNCS), st.none() | functions)
    | st.builds(
        lambda key, i, work, at_ms, data: ops.Get(key[0], key[1], i, work, at_ms, data),
        identities, st.none() | ids, st.booleans(), millis, st.booleans(),
    )
    | st.builds(ops.Fetch, ids)
    | st.builds(ops.Lanes, st.sampled_from(FUNCS))
    | st.builds(
        ops.Page, st.sampled_from(FUNCS), st.integers(-2, 2), st.none() | st.builds(Key, millis, ids),
        st.integers(1, 5), st.sampled_from([0, 4096]), st.sampled_from([0, 5_000, 10**6]),
    )
    | st.builds(ops.Count, st.sampled_from(["", "f", "x"]), st.sampled_from(["", "f", "g"]), st.integers(1, 3)),
    max_size=40,
)  # fmt: skip


def is_group(store: MemoryStore, job_id: int) -> bool:
    """One that is open: its job neither waits nor runs."""
    (job,) = store.apply([ops.Fetch(job_id)])
    if job is None:
        return False
    (found,) = store.apply([ops.Get(job.func, job.name, job_id)])
    return found.group is not None


def others(puts: tuple[ops.Put, ...], then: ops.Put | None) -> tuple[ops.Put, ...]:
    """Without those of the group's own name, which no group has."""
    return tuple(put for put in puts if then is None or put.job.key != then.job.key)


def completed(op: Op[Any], store: MemoryStore, next_id: int) -> tuple[list[Op[Any]], int]:
    """Ids grow and are never used twice, and only what runs, waits or is dead ends."""
    if isinstance(op, ops.Put | order.Fire):
        return [op], numbered([op if isinstance(op, ops.Put) else op.put], next_id)
    if isinstance(op, order.PutGroup):
        jobs = others(op.jobs, op.then)
        return [order.PutGroup(op.then, jobs, op.sealed)], numbered([op.then, *jobs], next_id)
    if isinstance(op, ops.Requeue):
        return [msgspec.structs.replace(op, new_id=next_id)], next_id + 1
    if isinstance(op, order.Unpark):
        return ([] if is_group(store, op.id) else [op]), next_id
    if isinstance(op, order.Park):
        (found,) = store.apply([ops.Fetch(op.job.id)])
        return ([] if found is None else [order.Park(found)]), next_id
    if isinstance(op, ops.Delete | ops.Release | ops.Bury | ops.Tally):
        return ended(op, store, next_id)
    return [op], next_id


def numbered(puts: list[ops.Put], next_id: int) -> int:
    for put in puts:
        put.job.id, next_id = next_id, next_id + 1
    return next_id


def ended(
    op: ops.Delete | ops.Release | ops.Bury | ops.Tally, store: MemoryStore, next_id: int
) -> tuple[list[Op[Any]], int]:
    (job,) = store.apply([ops.Fetch(op.end.id)])
    if job is None or job.state == 3 or (job.state == 2 and isinstance(op, ops.Release)) or is_group(store, job.id):
        return [], next_id
    end = msgspec.structs.replace(
        op.end,
        follow_ons=others(op.end.follow_ons, op.end.then),
        group_id=None if job.state == 2 else job.group_id,
    )
    next_id = numbered([*end.follow_ons, *filter(None, [end.then])], next_id)
    if job.result_ms and not isinstance(op, ops.Tally):
        last = ops.JobEnd(job.id, "done", end.at_ms, 1, None, b"abc", 3)
        end = msgspec.structs.replace(end, kept=ops.Kept(job.func, job.name, last, end.at_ms + job.result_ms))
    return [msgspec.structs.replace(op, end=end)], next_id


def kept(store: MemoryStore | SqliteStore) -> Any:
    counted, takes = store.apply([ops.Count("", "", 9), room.Room()])
    return store.list_jobs(ops.Listing(limit=1_000)), counted, (takes.endings, takes.endings_bytes)


listings = st.builds(
    ops.Listing, st.none() | st.sampled_from(FUNCS), st.none() | st.sampled_from(State),
    st.none() | st.sampled_from(NAMES), st.none() | millis, st.none() | millis,
    st.none() | st.text(min_size=1, max_size=2), st.none() | ids,
    st.none() | st.builds(ops.Place, ids, st.none() | st.sampled_from(["", "a", "ab", "z"])),
    st.sampled_from([1, 3, 1_000]), st.just(False), st.none() | ids,
)  # fmt: skip


def listed(store: MemoryStore | SqliteStore, listing: ops.Listing) -> list[ops.Shown]:
    """All pages; more may be short with one store than with another."""
    shown: list[ops.Shown] = []
    while True:
        page = store.list_jobs(listing)
        assert len(page.jobs) <= listing.limit
        shown += page.jobs
        if page.next is None:
            return shown
        listing = listing._replace(after=page.next)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=6), st.data())
def test_the_stores_agree(script: list[list[Op[Any]]], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        model, real = MemoryStore(), SqliteStore(Path(folder) / "periodic.db", "relaxed")
        next_id = 1
        for step in script:
            for op in step:
                # One op an apply: what completes an op looks at what the ops before it did.
                ready, next_id = completed(op, model, next_id)
                assert model.apply(ready) == real.apply(ready)
            model.commit()
            real.commit()
            assert kept(model) == kept(real)
            listing = data.draw(listings)
            shown = listed(real, listing)
            assert shown == listed(model, listing)
            assert real.list_jobs(listing._replace(only_count=True)) == ops.ListingResult([], None, len(shown))
            if data.draw(st.booleans()):
                real.close()
                real = SqliteStore(Path(folder) / "periodic.db", "relaxed")
                assert kept(model) == kept(real)
                # What is told once is of one life.
                model.apply([order.Freed(), order.Left()])
        real.close()


plain_names = st.integers(0, 10_000).map(str)
"""So many that most groups have no name twice, and some have."""


@settings(max_examples=60, deadline=None)
@given(st.lists(plain_names, min_size=64, max_size=100), st.data())
def test_the_stores_agree_on_many_equal_ops_at_once(names: list[str], data: st.DataObject) -> None:
    """What is put and done in groups is as if it were one by one."""
    with TemporaryDirectory() as folder:
        model, real = MemoryStore(), SqliteStore(Path(folder) / "periodic.db", "relaxed")
        size = st.sampled_from([3, 3, 3, 3, 3, 3, 3, 3, 5_000])
        puts = [ops.Put(job(number, name, workload=b"x" * data.draw(size))) for number, name in enumerate(names, 1)]
        claims = data.draw(st.sampled_from(["none", "all", "some"]))
        claimed = {
            number for number in range(1, len(names) + 1) if claims == "all" or (claims == "some" and number % 3)
        }
        behind = [ops.Put(job(1_000, names[0]))] if data.draw(st.booleans()) else []
        wrong = {data.draw(st.integers(1, 100)) for _ in range(data.draw(st.integers(0, 2)))}
        ends = [
            ops.Delete(
                ops.End(number, "another" if number in wrong else f"1-{number}" if number in claimed else None, 9)
            )
            for number in range(1, len(names) + 1)
        ]
        if wrong:
            ends.append(ends[0])
        for step in (puts, [ops.Claim(number, f"1-{number}", 1, 9, 8) for number in claimed], behind, ends):
            assert model.apply(list(step)) == real.apply(list(step))
            model.commit()
            real.commit()
            assert kept(model) == kept(real)
        real.close()
