"""A state machine that talks to the real daemon, kills it, and compares every answer with the oracle's.

One daemon serves all examples; each has functions of its own. Nothing waits: jobs are due now, long ago, or in a
fortnight. Only what was acknowledged is compared.
"""

from functools import partial
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from periodic_client.wire import LeaseLost
from rig.daemon import Daemon
from tests.model.link import Link, now_ms
from tests.model.oracle import Group, Job, Key, Moment, Oracle, Run

FAR_MS = 14 * 86_400_000
RESTARTS_MAX = 1
"""In one example."""
STATES = ("waiting", "parked", "running", "behind", "dead")

_prefixes = count()

funcs = st.sampled_from("ffg")
names = st.sampled_from("aab")
keys = st.tuples(funcs, names)
waits_ms = st.sampled_from([0, 3_600_000])
choices = st.integers(0, 30)
ids = st.sampled_from(["none", "none", "front", "behind", "wrong"])
jobs = st.fixed_dictionaries(
    {
        "func": funcs,
        "name": names,
        "workload": st.sampled_from([b"", b"hi", b"x" * 5_000]),
        "priority": st.integers(-1, 1),
        "lease_ms": st.sampled_from([600_000, 86_400_000]),
        "retry": st.fixed_dictionaries({"limit": st.integers(0, 2), "backoff": st.just("fixed"), "delay_ms": waits_ms}),
    },
    optional={
        "existing": st.sampled_from(["replace", "keep", "keep_live", "refuse"]),
        "headers": st.just({"a": "ä"}),
        "result_ms": st.just(3_600_000),
        "run_max_ms": st.just(86_400_000),
    },
).flatmap(
    lambda job: st.sampled_from(
        [
            job,
            job,
            job,
            job | {"delay_ms": 0},
            job | {"delay_ms": FAR_MS},
            job | {"due_at_ms": 1},
            job | {"due_at_ms": 2},
        ]
    )
)
moves = st.sampled_from([{"priority": 1}, {"delay_ms": 0}, {"delay_ms": FAR_MS}, {"due_at_ms": 1, "priority": 0}])
follow_ons = st.builds(lambda job, joins: job | {"join_group": joins}, jobs, st.booleans())
submits = {"submit": st.lists(follow_ons, max_size=3), "then": follow_ons}
outcomes = st.one_of(
    st.none(),
    st.just(b"data"),
    st.fixed_dictionaries({"outcome": st.just("done")}, optional=submits | {"data": st.just(b"data")}),
    st.fixed_dictionaries(
        {"outcome": st.just("failed")},
        optional=submits | {"reason": st.just("no"), "final": st.booleans(), "delay_ms": waits_ms},
    ),
    st.fixed_dictionaries({"outcome": st.just("later")}, optional=submits | {"delay_ms": waits_ms}),
)


def may_restart(machine: "Machine") -> bool:
    """A start takes as long as hundreds of other steps."""
    return machine.restarts < RESTARTS_MAX


class Machine(RuleBasedStateMachine):
    """Which rules may come depends on nothing that the daemon did: a beginning played again must find the same."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self.daemon = daemon
        self.prefix = f"{next(_prefixes)}-"
        self.oracle = Oracle()
        self.client = Link(daemon)
        self.worker = Link(daemon)
        self.boot = self.client.ask("hello")["boot"]
        self.restarts = 0
        self.last_id = 0
        self.looked_at_ms = now_ms()

    @initialize(limit=st.integers(1, 3))
    def somebody_works(self, limit: int) -> None:
        self.subscribe("f", limit)

    def teardown(self) -> None:
        self.client.close()
        self.worker.close()

    def ours(self, job: dict[str, Any]) -> dict[str, Any]:
        return job | {"func": self.prefix + job["func"]}

    def key(self, key: Key) -> Key:
        return self.prefix + key[0], key[1]

    def outcome(self, outcome: Any) -> Any:
        if not isinstance(outcome, dict):
            return outcome
        then = {"then": self.ours(outcome["then"])} if "then" in outcome else {}
        return outcome | then | {"submit": self._others(outcome.get("then"), outcome.get("submit", []))}

    def _others(self, then: dict[str, Any] | None, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Without those of the name of a group's own job."""
        own = then and (then["func"], then["name"])
        return [self.ours(job) for job in jobs if (job["func"], job["name"]) != own]

    # -- after every step --------------------------------------------------------------------------------------------

    @invariant()
    def what_is_due_is_given_out_as_far_as_there_is_room(self) -> None:
        begin_ms = now_ms()
        self.oracle.free(Moment(self.looked_at_ms, begin_ms))
        self.looked_at_ms = begin_ms
        for link, name in ((self.worker, "worker"), (self.client, "client")):
            assert link.ask("ping") == {}
            assert link.notices == [(handle, kind) for whose, handle, kind in self.oracle.notices if whose == name]
            link.notices.clear()
        self.oracle.notices.clear()
        started = [self.oracle.perform(msgid, given, now_ms()) for msgid, given in self.worker.performs]
        self.worker.performs.clear()
        for job in started:
            self.oracle.none_was_passed_over_for(job, begin_ms)
        for func, subscription in self.oracle.subscriptions.items():
            forgotten = self.oracle.candidates(func, begin_ms)
            assert not forgotten or subscription.running >= subscription.limit, f"{forgotten} were not given out"

    # -- clients -----------------------------------------------------------------------------------------------------

    @rule(job=jobs)
    def submit(self, job: dict[str, Any]) -> None:
        answer, moment = self.client.timed("submit", self.ours(job))
        self._put(self.ours(job), moment, answer["result"], answer["id"])

    def _put(
        self, ours: dict[str, Any], moment: Moment, result: str, job_id: int, member_of: Group | None = None
    ) -> None:
        there = self.oracle.jobs.get((ours["func"], ours["name"]))
        assert result == self.oracle.submit(ours, moment, job_id, member_of)
        if result in ("kept", "refused"):
            self._is(there or self.oracle.kept[ours["func"], ours["name"]][-1].job, job_id)
        else:
            self._is_new(job_id)

    def _is(self, job: Job, job_id: int) -> None:
        job.id = job.id or job_id
        assert job.id == job_id

    def _is_new(self, job_id: int) -> None:
        assert job_id > self.last_id, "ids grow"
        self.last_id = job_id

    @rule(then=jobs, members=st.lists(jobs, max_size=3), sealed=st.booleans())
    def submit_group(self, then: dict[str, Any], members: list[dict[str, Any]], sealed: bool) -> None:
        ours, others = self.ours(then), self._others(then, members)
        put = {"then": ours, "jobs": others, "sealed": sealed}
        answer, moment = self.client.timed("submit_group", put)
        result, group = self.oracle.submit_group(ours, moment, answer["id"])
        assert answer["result"] == result
        if group is None:
            assert (answer["results"], answer["ids"]) == ([], [])
            return
        if result == "added":
            self._is(group.job, answer["id"])
        else:
            self._is_new(answer["id"])
        for job, word, job_id in zip(others, answer["results"], answer["ids"], strict=True):
            self._put(job, moment, word, job_id, group)
        group.sealed = group.sealed or sealed

    @rule(batch=st.lists(jobs, max_size=6))
    def submit_batch(self, batch: list[dict[str, Any]]) -> None:
        ours = [self.ours(job) for job in batch]
        answer, moment = self.client.timed("submit_batch", ours)
        for job, result, job_id in zip(ours, answer["results"], answer["ids"], strict=True):
            self._put(job, moment, result, job_id)

    def _id(self, key: Key, which: str) -> int | None:
        """Of the job of this name, of the one behind it, a wrong one, or none."""
        job = self.oracle.jobs.get(self.key(key))
        if which == "wrong":
            return 2**53 - 1
        if which == "behind" and job is not None and job.behind is not None:
            return job.behind.id
        return job.id if which == "front" and job is not None else None

    @rule(key=keys, which=ids)
    def remove(self, key: Key, which: str) -> None:
        job_id = self._id(key, which)
        answer, moment = self.client.timed("remove", *self.key(key), {"id": job_id})
        assert answer == {"result": self.oracle.remove(self.key(key), job_id, moment)}

    @rule(key=keys, which=ids)
    def requeue(self, key: Key, which: str) -> None:
        job_id = self._id(key, which)
        answer, moment = self.client.timed("requeue", *self.key(key), {"id": job_id})
        assert answer["result"] == self.oracle.requeue(self.key(key), job_id, moment, answer["id"])
        self.last_id = answer["id"] or self.last_id

    @rule(key=keys, which=ids)
    def cancel(self, key: Key, which: str) -> None:
        job_id = self._id(key, which)
        answer = self.client.ask("cancel", *self.key(key), {"id": job_id, "reason": "not wanted"})
        assert answer == {"result": self.oracle.cancel(self.key(key), job_id, "not wanted")}

    @rule(key=keys, which=ids, options=moves)
    def move(self, key: Key, which: str, options: dict[str, Any]) -> None:
        job_id = self._id(key, which)
        answer, moment = self.client.timed("move", *self.key(key), options | {"id": job_id})
        due = None
        if "delay_ms" in options:
            due = moment.plus(options["delay_ms"])
        elif "due_at_ms" in options:
            due = Moment(options["due_at_ms"], options["due_at_ms"]).not_before(moment)
        assert answer == {"result": self.oracle.move(self.key(key), job_id, due, options.get("priority"))}

    @rule(key=keys, which=ids, counts_as=st.sampled_from(["failed", "later"]))
    def end_run(self, key: Key, which: str, counts_as: str) -> None:
        job_id = self._id(key, which)
        options = {"as": counts_as, "reason": "hangs", "id": job_id}
        answer, moment = self.client.timed("end_run", *self.key(key), options)
        outcome = {"outcome": counts_as, "reason": "hangs"}
        assert answer == {"result": self.oracle.end_run(self.key(key), job_id, outcome, moment)}

    @rule(key=keys, which=ids, workload=st.booleans())
    def get(self, key: Key, which: str, workload: bool) -> None:
        job_id = self._id(key, which)
        answer = self.client.ask("get", *self.key(key), {"id": job_id, "workload": workload, "data": True})
        result, job = self.oracle.find(self.key(key), job_id)
        assert answer["result"] == result
        self._agree(job, answer["job"], workload)
        group = job and job.group
        shown = group and group.told | {"sealed": group.sealed, "open": group.open}
        assert answer["group"] == shown
        ending, last = self.oracle.last(self.key(key), job_id), answer["last"]
        if ending is None or last is None:
            assert (ending, last) == (None, None)
            return
        ending.job.id = ending.job.id or last["id"]
        assert last == {
            "id": ending.job.id, "ending": ending.word, "attempt": ending.job.attempt, "reason": ending.reason,
            "data_bytes": len(ending.data), "data": ending.data or None, "ended_at_ms": last["ended_at_ms"],
        }  # fmt: skip

    @rule(key=keys, which=st.sampled_from(["none", "front", "behind"]))
    def watch(self, key: Key, which: str) -> None:
        """Of what is there. What is told of a job that is gone depends on who asked before."""
        job_id = self._id(key, which)
        _, job = self.oracle.find(self.key(key), job_id)
        if job is None:
            return
        told = self.client.ask("watch", *self.key(key), {"id": job_id, "timeout_ms": 0})
        is_dead = self.oracle.state(job) == "dead"
        assert (told["result"], told["ended"]) == ("found", is_dead)
        assert (told["ending"], told["state"]) == (("dead", None) if is_dead else (None, self.oracle.state(job)))
        assert told["attempt"] == job.attempt
        assert (told["chunks"], told["missed"]) == ([], 0)

    @invariant()
    def what_is_listed_agrees(self) -> None:
        for func in ("f", "g"):
            self._list(self.prefix + func, None, 100)

    @rule(func=funcs, state=st.none() | st.sampled_from(STATES), limit=st.integers(1, 3))
    def list_in_pages(self, func: str, state: str | None, limit: int) -> None:
        self._list(self.prefix + func, state, limit)

    def _list(self, func: str, state: str | None, limit: int) -> None:
        """The record that a job runs may reach the disk a little after the job: a running one may be listed waiting."""
        query = {"func": func, "limit": limit} | ({"state": state} if state is not None else {})
        listed: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.client.ask("list", query | {"after": after})
            assert len(page["jobs"]) <= limit
            listed += page["jobs"]
            after = page["next"]
            if after is None:
                break
        assert [job["id"] for job in listed] == sorted({job["id"] for job in listed}), "oldest first, each once"
        shown = {(job["name"], job["state"] == "behind"): job for job in listed}
        assert len(shown) == len(listed)
        for job in self.oracle.of(func):
            stands = self.oracle.state(job)
            given = shown.pop((job.key[1], stands == "behind"), None)
            if given is None:
                assert state not in (None, stands) or (stands, state) == ("running", "running"), f"{job} is not listed"
            elif given["state"] == stands:
                assert state in (None, stands)
                self._agree_listed(job, given)
            else:
                assert (given["state"], stands) == ("waiting", "running")
        assert not shown

    @rule()
    def status(self) -> None:
        answer = self.client.ask("status", {"prefix": self.prefix})
        assert answer["boot"] == self.boot
        assert answer["next"] is None
        shown = {each["func"]: each for each in answer["functions"]}
        for func in (self.prefix + "f", self.prefix + "g"):
            found = [(self.oracle.state(job), job) for job in self.oracle.of(func)]
            if not found and func not in self.oracle.subscriptions:
                assert func not in shown
                continue
            given, states = shown[func], [state for state, _ in found]
            assert given["workers"] == (func in self.oracle.subscriptions)
            for state in STATES:
                assert given[state] == states.count(state)
            assert given["started"] == self.oracle.started.get(func, 0)
            waiting = [job.due for state, job in found if state == "waiting"]
            if waiting:
                earliest = Moment(min(due.low_ms for due in waiting), min(due.high_ms for due in waiting))
                assert given["due_at_ms"] in earliest
            else:
                assert given["due_at_ms"] is None

    def _agree(self, job: Job | None, given: dict[str, Any] | None, workload: bool) -> None:
        if job is None or given is None:
            assert (job, given) == (None, None)
            return
        assert given["workload"] == (job.given["workload"] if workload else None)
        self._agree_listed(job, given | {"workload": None})

    def _agree_listed(self, job: Job, given: dict[str, Any]) -> None:
        assert given["due_at_ms"] in job.due
        assert given["submitted_at_ms"] in job.submitted
        assert given["ended_at_ms"] is None if job.ended is None else given["ended_at_ms"] in job.ended
        job.id = job.id or given["id"]
        unknown = {
            key: given[key]
            for key in ("due_at_ms", "submitted_at_ms", "ended_at_ms", "errors", "started_at_ms", "lease_until_at_ms")
        }
        assert [(error["attempt"], error["text"]) for error in given["errors"]] == job.errors
        if given["state"] == "running":
            assert given["started_at_ms"] <= given["lease_until_at_ms"]
        else:
            assert given["lease_until_at_ms"] is None
        assert given == unknown | {
            "result_ms": job.given.get("result_ms", 0), "run_max_ms": job.given.get("run_max_ms"), "locks": {},
            "cancelled": job.cancelled,
            "id": job.id, "run": None if job.handle is None else int(job.handle.split("-")[1]),
            "restarts": job.restarts, "headers": job.given.get("headers", {}), "behind": job.behind is not None,
            "workload": None,
            "func": job.key[0], "name": job.key[1], "state": self.oracle.state(job), "priority": job.priority,
            "lease_ms": job.given["lease_ms"], "attempt": job.attempt, "failures": job.failures,
            "crashes": job.crashes, "retry": job.given["retry"] | {"cap_ms": 3_600_000, "jitter_percent": 0},
            "reason": job.reason, "workload_bytes": len(job.given["workload"]), "expires_at_ms": None,
            "broadcast": None,
            "group_id": job.joined and (job.joined.job.id or given["group_id"]),
        }  # fmt: skip

    # -- workers -----------------------------------------------------------------------------------------------------

    @rule(func=funcs, limit=st.integers(1, 3))
    def subscribe(self, func: str, limit: int) -> None:
        self.oracle.subscribe(self.prefix + func, limit)
        assert self.worker.ask("subscribe", self.prefix + func, {"limit": limit}) == {}

    @rule(func=st.none() | funcs)
    def unsubscribe(self, func: str | None) -> None:
        if func is None:
            assert self.worker.ask("unsubscribe_all") == {}
            self.oracle.unsubscribe(None)
        else:
            assert self.worker.ask("unsubscribe", self.prefix + func) == {}
            self.oracle.unsubscribe(self.prefix + func)

    @rule(choice=choices, outcome=outcomes)
    def respond(self, choice: int, outcome: Any) -> None:
        if not any(run.open for run in self.oracle.runs):
            return
        self._respond(choice, None, self.outcome(outcome), self.outcome(outcome))

    @rule(choice=choices, readable=st.booleans())
    def respond_that_it_failed(self, choice: int, readable: bool) -> None:
        if not any(run.open for run in self.oracle.runs):
            return
        if readable:
            self._respond(choice, "disk full", None, {"outcome": "failed", "reason": "disk full"})
        else:
            why = "INVALID path=outcome.outcome: outcome.outcome is one of done, failed, later, not perhaps"
            self._respond(choice, None, {"outcome": "perhaps"}, {"outcome": "failed", "reason": why}, readable=False)

    def _respond(self, choice: int, error: str | None, result: Any, meant: Any, readable: bool = True) -> None:
        open_runs = [run for run in self.oracle.runs if run.open]
        run = open_runs[choice % len(open_runs)]
        begin_ms = now_ms()
        self.worker.raw.send([1, run.msgid, error, result])
        assert self.worker.ask("ping") == {}
        self.oracle.respond(run, meant, Moment(begin_ms, now_ms()), readable)

    @rule(choice=choices, outcome=outcomes)
    def finish(self, choice: int, outcome: Any) -> None:
        if not self.oracle.runs:
            return
        run, ours = self._run(choice), self.outcome(outcome)
        begin_ms = now_ms()
        accepted = self._answer("finish", run.handle, ours) is not None
        assert accepted == self.oracle.finish(run, ours, Moment(begin_ms, now_ms()))

    @rule(choice=choices, own=st.booleans())
    def extend(self, choice: int, own: bool) -> None:
        if not self.oracle.runs:
            return
        run = self._run(choice)
        answer = self._answer("extend", run.handle, {"lease_ms": 600_000, "own": own})
        job = self.oracle.extend(run, own)
        assert (answer is None) == (job is None)
        if answer is not None and job is not None:
            assert answer["cancelled"] == (job.cancelled is not None)

    def _run(self, choice: int) -> Run:
        """Often one of the last."""
        return self.oracle.runs[-1 - choice % len(self.oracle.runs)]

    def _answer(self, method: str, *params: Any) -> dict[str, Any] | None:
        """None: it was refused."""
        try:
            answer: dict[str, Any] = self.client.ask(method, *params)
        except LeaseLost:
            return None
        assert list(answer) == (["lease_until_at_ms", "cancelled"] if method == "extend" else [])
        return answer

    # -- faults ------------------------------------------------------------------------------------------------------

    @rule(comes_back=st.booleans())
    def worker_is_lost(self, comes_back: bool) -> None:
        begin_ms = now_ms()
        self.worker.close()
        while self.client.ask("status")["connections"] != 1:
            pass
        self.oracle.worker_lost(Moment(begin_ms, now_ms()))
        self.worker = Link(self.daemon)
        if comes_back:
            self.subscribe("f", 2)

    @precondition(may_restart)
    @rule()
    def stop_and_start(self) -> None:
        assert self.daemon.stop() == 0
        self._start()

    @precondition(may_restart)
    @rule()
    def kill_and_start(self) -> None:
        self._write_claims()
        self.daemon.kill()
        self._start()

    @precondition(may_restart)
    @rule(batch=st.lists(jobs, min_size=1, max_size=6, unique_by=lambda job: (job["func"], job["name"])))
    def kill_in_the_middle_of_a_batch(self, batch: list[dict[str, Any]]) -> None:
        """Not acknowledged: all of it is there, or nothing. What a name has already would be there either way."""
        taken = self.oracle.jobs.keys() | self.oracle.kept.keys()
        fresh = [job for job in map(self.ours, batch) if (job["func"], job["name"]) not in taken]
        # What follows must not depend on which of the two it was: neither a job nor an ending stays.
        for job in fresh:
            job.pop("result_ms", None)
        self._write_claims()
        self.client.send("submit_batch", fresh)
        self.daemon.kill()
        self._start()
        there = {self.client.ask("get", job["func"], job["name"])["job"] is not None for job in fresh}
        assert len(there) <= 1, f"a part of {fresh} is there"
        for job in fresh:
            self.client.ask("remove", job["func"], job["name"])

    def _start(self) -> None:
        self.client.close()
        self.worker.close()
        self.daemon.start()
        self.oracle.restarted()
        self.client, self.worker = Link(self.daemon), Link(self.daemon)
        self.boot += 1
        self.restarts += 1
        assert self.client.ask("hello")["boot"] == self.boot

    def _write_claims(self) -> None:
        """Or it would depend on the moment of a kill which runs the daemon knows afterwards."""
        self.client.ask("status")


def run(daemon: Daemon, examples: int, steps: int) -> None:
    """Raises what the first example that fails raises, cut to the shortest; hypothesis prints its steps."""
    run_state_machine_as_test(
        partial(Machine, daemon),  # type: ignore[arg-type]  # it takes any factory
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
