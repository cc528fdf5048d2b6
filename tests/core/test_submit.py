"""submit, remove, requeue, get: what is kept under a name."""

import pytest

from periodic_client.wire import Busy, Invalid
from periodicd.engine import Listed
from tests.core.script import START, Daemon, worker

DEAD = {"outcome": "failed", "final": True}


def test_a_job_waits_until_somebody_serves_its_function() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.submit("a", workload=b"x") == "created"
    assert daemon.job("f", "a")["state"] == "waiting"
    run = worker(daemon).take()
    assert run.job["workload"] == b"x"
    assert daemon.job("f", "a")["state"] == "running"
    run.respond()
    assert daemon.gone("f", "a")


def test_a_waiting_job_is_replaced_with_new_id_and_counters() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", workload=b"old")
    runner.take().fail()
    before = daemon.job("f", "a")
    assert (before["attempt"], before["failures"]) == (1, 1)
    assert client.submit("a", workload=b"new", delay_ms=5_000) == "replaced"
    after = daemon.job("f", "a")
    assert after["id"] > before["id"]
    assert (after["attempt"], after["failures"], after["workload"]) == (0, 0, b"new")
    daemon.later(4_999)
    assert not runner.runs
    daemon.later(1)
    assert runner.take().job["workload"] == b"new"


def test_a_job_can_be_moved_to_later_and_to_earlier() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", delay_ms=100)
    assert client.submit("a", delay_ms=10_000) == "replaced"
    daemon.later(9_999)
    assert not runner.runs
    assert client.submit("a", delay_ms=0) == "replaced"
    assert runner.names() == ["a"]


def test_a_submit_while_running_waits_behind_and_takes_its_place_however_the_run_ends() -> None:
    for ending in (None, DEAD, {"outcome": "failed"}, {"outcome": "later", "delay_ms": 9}):
        daemon = Daemon()
        client, runner = daemon.connect(), worker(daemon)
        client.submit("a", workload=b"1")
        run = runner.take()
        assert client.submit("a", workload=b"2") == "queued_behind"
        assert client.submit("a", workload=b"3") == "queued_behind"
        assert not runner.runs
        assert daemon.job("f", "a")["behind"] is True
        run.respond(ending)
        second = runner.take()
        assert second.job["workload"] == b"3"
        assert (second.job["attempt"], second.job["failures"]) == (1, 0)
        second.respond()
        assert daemon.gone("f", "a")


def test_a_job_behind_that_is_due_later_waits_for_its_time() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    client.submit("a", delay_ms=1_000)
    runner.take().respond()
    assert not runner.runs
    daemon.later(1_000)
    assert runner.names() == ["a"]


def test_a_dead_job_is_superseded_by_a_submit() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    runner.take().respond(DEAD)
    assert daemon.job("f", "a")["state"] == "dead"
    assert client.submit("a") == "created"
    assert runner.take().job["attempt"] == 1


def test_keep_leaves_any_earlier_job_alone() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.submit("a", existing="keep", workload=b"1") == "created"
    assert client.submit("a", existing="keep", workload=b"2") == "kept"
    runner = worker(daemon)
    run = runner.take()
    assert run.job["workload"] == b"1"
    assert client.submit("a", existing="keep") == "kept"
    run.respond(DEAD)
    assert client.submit("a", existing="keep") == "kept"
    assert not runner.runs


def test_keep_live_leaves_a_live_job_alone_and_supersedes_a_dead_one() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    assert client.submit("a", existing="keep_live", delay_ms=10) == "created"
    assert client.submit("a", existing="keep_live") == "kept"
    daemon.later(10)
    assert client.submit("a", existing="keep_live") == "kept"
    runner.take().respond(DEAD)
    assert client.submit("a", existing="keep_live") == "created"
    assert runner.take().job["attempt"] == 1


def test_refuse_is_a_result_and_no_error() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    first = client.ask("submit", {"func": "f", "name": "a", "existing": "refuse"})
    assert first == {"result": "created", "id": 1}
    batch = [{"func": "f", "name": name, "existing": "refuse"} for name in "ab"]
    answer = client.ask("submit_batch", batch)
    assert answer["results"] == ["refused", "created"]
    assert answer["ids"][0] == 1, "the id of the one that is there"
    runner.take().respond(DEAD)
    assert client.submit("a", existing="refuse") == "refused"
    assert runner.names() == ["b"]


def test_kept_tells_the_id_of_the_one_that_was_kept() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    kept = client.ask("submit", {"func": "f", "name": "a", "existing": "keep"})
    assert kept == {"result": "kept", "id": daemon.job("f", "a")["id"]}


def test_nil_is_absent_everywhere() -> None:
    daemon = Daemon()
    client = daemon.connect()
    keys = ("workload", "headers", "due_at_ms", "delay_ms", "priority", "lease_ms", "existing")
    job = {"func": "f", "name": "a", **dict.fromkeys(keys), "retry": dict.fromkeys(("limit", "backoff", "cap_ms"))}
    assert client.ask("submit", job)["result"] == "created"
    client.submit("b", retry=None)
    for name in "ab":
        job = daemon.job("f", name)
        assert (job["priority"], job["lease_ms"], job["retry"]["limit"], job["headers"]) == (0, 600_000, 15, {})
    assert client.ask("remove", "f", "a", None) == {"result": "removed"}
    assert client.ask("get", "f", "b", {"id": None, "workload": None})["job"]["workload"] is None
    assert len(client.ask("list", None)["jobs"]) == len(client.ask("list", {"func": None})["jobs"]) == 1
    assert client.ask("subscribe", "f", None) == {}
    assert client.names() == ["b"]
    assert client.ask("hello", None)["protocol"] == 1
    assert client.ask("hello", dict.fromkeys(("client", "credit", "silence_ms", "features")))["features"] == []


def test_nothing_means_everything_only_where_it_says_so() -> None:
    client = Daemon().connect()
    for params in ([], [None]):
        with pytest.raises(Invalid):
            client.ask("unsubscribe", *params)


def test_one_acts_on_what_one_saw() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    first = client.ask("submit", {"func": "f", "name": "a", "retry": {"limit": 0}})["id"]
    assert client.ask("remove", "f", "nothing", {"id": first}) == {"result": "absent"}
    for method in ("remove", "requeue", "get"):
        assert client.ask(method, "f", "a", {"id": first + 99})["result"] == "changed"
    assert client.ask("get", "f", "a", {"id": first})["job"]["id"] == first
    behind = client.ask("submit", {"func": "f", "name": "a", "workload": b"2"})["id"]
    shown = client.ask("get", "f", "a", {"id": behind, "workload": True})["job"]
    assert (shown["state"], shown["workload"], shown["behind"]) == ("behind", b"2", False)
    assert client.ask("remove", "f", "a", {"id": behind}) == {"result": "removed"}
    assert daemon.job("f", "a")["behind"] is False
    runner.take().fail()
    assert client.ask("requeue", "f", "a", {"id": first + 99})["result"] == "changed"
    assert client.ask("requeue", "f", "a", {"id": first})["result"] == "requeued"
    assert runner.names() == ["a"]


def test_removing_a_run_by_its_id_leaves_what_waits_behind_it() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    first = client.ask("submit", {"func": "f", "name": "a"})["id"]
    client.submit("a", workload=b"2")
    run = runner.take()
    assert client.ask("remove", "f", "a", {"id": first}) == {"result": "removed"}
    assert runner.notices == [(run.handle, "lost")]
    second = runner.take()
    assert (second.job["workload"], second.job["attempt"]) == (b"2", 1)
    second.respond()
    assert daemon.gone("f", "a")
    assert client.ask("status")["functions"][0]["behind"] == 0


def test_headers_travel_with_the_job() -> None:
    daemon = Daemon()
    headers = {"content-type": "image/jpeg", "traceparent": "00-ä"}
    daemon.connect().submit("a", headers=headers, retry={"limit": 0})
    runner = worker(daemon)
    run = runner.take()
    assert run.job["headers"] == daemon.job("f", "a")["headers"] == headers
    run.fail()
    daemon.connect().ask("requeue", "f", "a")
    assert runner.take().job["headers"] == daemon.job("f", "a")["headers"] == headers


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({str(number): "" for number in range(65)}, "job.headers has 65 entries, and may have 64"),
        ({"a": "ä" * 2_048}, "job.headers has 4,097 bytes of names and values, and may have 4,096"),
        ({"a": 1}, "job.headers.a is a text, not an integer"),
        ({b"a": "b"}, "job.headers has a key that is bytes; the keys of a map are text"),
        ([], "job.headers is a map of text to text, not an array"),
    ],
)
def test_headers_that_are_too_many_or_no_text_are_refused(headers: object, why: str) -> None:
    client = Daemon().connect()
    with pytest.raises(Invalid) as refused:
        client.submit("a", headers=headers)
    assert str(refused.value) == why
    assert refused.value.details["path"].startswith("job.headers")


def test_1001_jobs_are_invalid_and_close_nothing() -> None:
    client = Daemon().connect()
    with pytest.raises(Invalid, match="jobs has 1,001 jobs, and may have 1,000"):
        client.ask("submit_batch", [{"func": "f", "name": str(number)} for number in range(1001)])
    assert client.submit("a") == "created"


def test_a_due_time_in_the_past_is_raised_to_the_moment_of_submission() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("first")
    daemon.later(1_000)
    client.submit("second", due_at_ms=0)
    assert daemon.job("f", "second")["due_at_ms"] == daemon.now.wall_ms
    assert worker(daemon).names() == ["first", "second"]
    assert client.ask("status")["functions"][0]["lateness_max_ms"] <= 1_031


def test_a_batch_is_one_step_and_the_later_entry_of_a_name_wins() -> None:
    daemon = Daemon()
    client = daemon.connect()
    jobs = [{"func": "f", "name": name, "workload": load} for name, load in (("a", "1"), ("b", "2"), ("a", "3"))]
    answer = client.ask("submit_batch", jobs)
    assert answer["results"] == ["created", "created", "replaced"]
    assert answer["ids"] == [1, 2, 3]
    assert client.ask("submit_batch", []) == {"results": [], "ids": []}
    runner = worker(daemon)
    assert [(run.name, run.job["workload"]) for run in runner.runs] == [("b", b"2"), ("a", b"3")]


def test_a_bad_entry_is_named_and_nothing_of_its_batch_is_taken() -> None:
    daemon = Daemon()
    client = daemon.connect()
    with pytest.raises(Invalid, match=r"jobs\[1\].name is missing"):
        client.ask("submit_batch", [{"func": "f", "name": "a"}, {"func": "f"}])
    assert daemon.gone("f", "a")


def test_a_job_submitted_and_removed_at_once_never_runs() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    first = client.send("submit", {"func": "f", "name": "a"})
    second = client.send("remove", "f", "a")
    daemon.step()
    assert client.answer(first) == {"result": "created", "id": 1}
    assert client.answer(second) == {"result": "removed"}
    assert not runner.runs


def test_remove_takes_a_job_in_any_state() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    assert client.ask("remove", "f", "a") == {"result": "absent"}
    client.submit("a", delay_ms=100)
    assert client.ask("remove", "f", "a") == {"result": "removed"}
    daemon.later(200)
    assert not runner.runs
    client.submit("a")
    client.submit("a")
    assert client.ask("remove", "f", "a") == {"result": "removed"}
    run = runner.take()
    run.respond()
    assert runner.notices == [(run.handle, "lost")]
    assert daemon.gone("f", "a")
    client.submit("a")
    runner.take().respond(DEAD)
    assert client.ask("remove", "f", "a") == {"result": "removed"}
    assert daemon.gone("f", "a")


def test_requeue_gives_a_dead_job_a_new_life() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    assert client.ask("requeue", "f", "a") == {"result": "absent", "id": None}
    client.submit("a", workload=b"x" * 10_000, retry={"limit": 0}, priority=3)
    assert client.ask("requeue", "f", "a") == {"result": "not_dead", "id": None}
    runner.take().fail("broken")
    dead = daemon.job("f", "a")
    assert (dead["state"], dead["reason"], dead["ended_at_ms"]) == ("dead", "broken", START.wall_ms)
    daemon.later(50)
    answer = client.ask("requeue", "f", "a")
    run = runner.take()
    assert (run.job["attempt"], run.job["failures"], run.job["workload"]) == (1, 0, b"x" * 10_000)
    again = daemon.job("f", "a")
    assert again["id"] > dead["id"]
    assert answer == {"result": "requeued", "id": again["id"]}
    assert (again["priority"], again["retry"]["limit"], again["reason"]) == (3, 0, None)


def test_list_pages_through_all_jobs_by_function_and_state() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(25):
        client.submit(str(number), func="even" if number % 2 == 0 else "odd", delay_ms=number)
    names: list[str] = []
    after = None
    while names == [] or after is not None:
        page = client.ask("list", {"func": "odd", "limit": 5, "after": after})
        assert after is None or isinstance(after, str)
        names += [job["name"] for job in page["jobs"]]
        after = page["next"]
    assert names == [str(number) for number in range(1, 25, 2)]
    assert client.ask("list", {"state": "dead"}) == {"jobs": [], "next": None}
    runner = worker(daemon, "even", 2)
    running = client.ask("list", {"state": "waiting", "func": "even"})["jobs"]
    daemon.later(100)
    assert runner.names() == ["0", "2"]
    assert len(running) == 13, "a claim may be written a little after its job was given out"
    assert len(client.ask("list", {"state": "running"})["jobs"]) == 2


def test_list_shows_what_has_a_job_behind() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner = worker(daemon, limit=1)
    for name in "aab":
        client.submit(name)
    assert runner.names() == ["a"]
    daemon.later(100)
    listed = [(job["name"], job["state"], job["behind"]) for job in client.ask("list")["jobs"]]
    assert listed == [("a", "running", True), ("a", "behind", False), ("b", "waiting", False)]


@pytest.mark.parametrize("after", ["", "5", "j", "jx", "j" + "f" * 20, "J1"])
def test_a_cursor_that_is_none_is_refused(after: str) -> None:
    with pytest.raises(Invalid, match=r"query\.after is not the `next` of a page of list"):
        Daemon().connect().ask("list", {"after": after})


def test_a_listing_that_fails_is_its_request_s_error_alone() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for _ in range(20):
        asked = client.send("list")
        ((peer, msgid, _),) = daemon.said().listings
        daemon.engine.tell(peer, Listed(msgid, Busy("the jobs could not be listed")))
        daemon.step()
        with pytest.raises(Busy, match="could not be listed"):
            client.answer(asked)
    assert client.ask("list") == {"jobs": [], "next": None}, "it has given back its place among the listings"
