"""The demo's chain with its programs killed in the middle: it completes, nothing is lost, no object is half written."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.chain import LINE_COLUMNS, SUFFIXES, Chain, idle, progress
from tests.image_workers.hostile import progressive
from tests.image_workers.processes import all_end, children, hang

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 100.0


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    shutil.copy(ROOT / "demo" / "config.yml", tmp_path)
    chain = Chain(tmp_path)
    yield chain
    chain.stop()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two photographs, small enough for guetzli to be quick."""
    (tmp_path / "pictures").mkdir()
    made = []
    for name in ("extreme-desert-hike.jpg", "gray.jpg"):
        picture = tmp_path / "pictures" / name
        with Image.open(ROOT / "tests" / "pictures" / name) as image:
            image.thumbnail((100, 100))
            image.save(picture, quality=98)
        made.append(picture)
    return made


def objects(chain: Chain) -> list[Path]:
    """The objects that the bucket has; each must decode, at any moment."""
    found = list((chain.folder / "bucket").glob("*.jpg"))
    for path in found:
        with Image.open(path) as image:
            image.load()
    return found


@pytest.mark.parametrize("killed", ["periodicd", "image-workers"])
def test_kill_9_in_the_middle(chain: Chain, pictures: list[Path], killed: str) -> None:
    chain.start_daemon()
    chain.start_worker()
    for picture in pictures:
        chain.submit(picture)
    restart = chain.start_daemon if killed == "periodicd" else chain.start_worker
    for count in (1, 5, 9):
        chain.wait(lambda _, count=count: len(objects(chain)) >= count, TIMEOUT_S)  # type: ignore[misc]
        chain.kill(killed)
        objects(chain)
        restart()
    chain.wait(idle, TIMEOUT_S)
    rows = chain.rows(pictures)
    assert len(rows) == len(pictures) * (1 + len(SUFFIXES))
    assert any(row.final < row.uploaded for row in rows)
    # Each cached file has its removal planned: originals, thumbnails, and what guetzli made.
    cached = {
        str(path.relative_to(chain.run / "images"))
        for path in (chain.run / "images").rglob("*.jpg")
        if ".incoming" not in path.parts
    }
    assert {job["name"] for job in chain.removals()} == cached
    assert chain.stop() == []


@pytest.fixture
def telling(chain: Chain) -> Chain:
    with (chain.folder / "config.yml").open("a") as config:
        config.write("then: told\n")
    return chain


def told(chain: Chain) -> dict[str, dict[str, Any]]:
    """What there is to be told by now, by the names of the pictures, and forgotten."""
    taken = json.loads(chain.periodic("take", "told", "--max", "100", "--wait", "0s", "--json").stdout)
    for job in taken:
        chain.periodic("finish", job["handle"])
    by_name = {job["name"]: job for job in taken}
    assert len(by_name) == len(taken)
    return by_name


def all_told(status: dict[str, Any]) -> bool:
    """Nothing but removals, and what is to be told, is left; no group is open."""
    return idle({"functions": [each for each in status["functions"] if each["func"] != "told"]}) and not any(
        each["parked"] for each in status["functions"]
    )


@pytest.mark.parametrize("killed", ["periodicd", "image-workers"])
def test_who_is_to_be_told_of_a_picture_is_told_once_with_what_is_published(
    telling: Chain, pictures: list[Path], killed: str
) -> None:
    chain = telling
    chain.start_daemon()
    chain.start_worker()
    for picture in pictures:
        chain.submit(picture)
    restart = chain.start_daemon if killed == "periodicd" else chain.start_worker
    jobs: list[dict[str, Any]] = []
    for count in (1, 5, 9):
        chain.wait(lambda _, count=count: len(objects(chain)) >= count, TIMEOUT_S)  # type: ignore[misc]
        chain.kill(killed)
        restart()
        jobs += told(chain).values()
    chain.wait(all_told, TIMEOUT_S)
    rows = chain.rows(pictures)
    jobs += told(chain).values()
    assert sorted(job["name"] for job in jobs) == sorted(picture.name for picture in pictures)
    for job in jobs:
        group = {name.removeprefix("group-"): int(text) for name, text in job["headers"].items()}
        assert group["done"] == group["members"] >= 5 + len(SUFFIXES)
    seen = [each for job in jobs for each in json.loads(job["workload"])["objects"]]
    assert {each["key"]: (each["bytes_before"], each["bytes"]) for each in seen} == {
        row.key: (row.uploaded, row.final) for row in rows
    }
    assert any(each["bytes"] < each["bytes_before"] for each in seen)
    assert len(chain.removals()) == len([*(chain.run / "images").rglob("*.jpg")]), "also of the originals"
    assert chain.stop() == []


def test_a_picture_of_which_a_step_is_dead_is_told_too(telling: Chain, tmp_path: Path) -> None:
    chain = telling
    bad = tmp_path / "pictures.jpg"
    with Image.open(ROOT / "tests" / "pictures" / "extreme-desert-hike.jpg") as image:
        image.save(bad)
    bad.write_bytes(bad.read_bytes()[:2000])
    chain.start_daemon()
    chain.start_worker()
    chain.submit(bad)
    chain.wait(all_told, TIMEOUT_S, may_fail=True)
    job = told(chain)[bad.name]
    assert (job["headers"]["group-members"], job["headers"]["group-dead"]) == ("5", "4")
    original, *thumbnails = json.loads(job["workload"])["objects"]
    assert original == {"key": bad.name, "bytes": 2000, "bytes_before": 2000}
    assert [(each["bytes"], each["bytes_before"]) for each in thumbnails] == [(None, None)] * 4


@pytest.mark.parametrize("then", ["", "then: told\n"])
def test_an_album_waits_for_all_steps_of_its_pictures(chain: Chain, pictures: list[Path], then: str) -> None:
    """Whoever submits pictures as a group need not know which steps they have."""
    with (chain.folder / "config.yml").open("a") as config:
        config.write(then)
    members = [
        {"func": "save", "name": picture.name, "workload_base64": base64.b64encode(picture.read_bytes()).decode()}
        for picture in pictures
    ]
    (chain.folder / "album").write_text("\n".join(map(json.dumps, members)))
    chain.start_daemon()
    chain.start_worker()
    assert chain.periodic("submit-group", "album", "a", "--jobs", str(chain.folder / "album")).stdout == "created\n"
    if then:
        chain.wait(lambda status: count(status, "told", "waiting") == 2, TIMEOUT_S)
        assert count(chain.wait(lambda _: True, TIMEOUT_S), "album", "parked") == 1
        assert len(told(chain)) == 2
    status = chain.wait(lambda status: count(status, "album", "waiting") == 1, TIMEOUT_S)
    assert not any(each["waiting"] or each["running"] for each in status["functions"] if each["func"] not in LATER)
    assert len(chain.rows(pictures)) == len(pictures) * (1 + len(SUFFIXES))


LATER = ("album", "remove")


def count(status: dict[str, Any], func: str, state: str) -> int:
    return sum(each[state] for each in status["functions"] if each["func"] == func)


def test_a_file_that_is_no_picture_fails_alone(chain: Chain, pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "pictures" / "bad.jpg"
    bad.write_text("<svg onload=alert(1)>")
    chain.start_daemon()
    chain.start_worker()
    for picture in (bad, pictures[0]):
        chain.submit(picture)
    chain.wait(idle, TIMEOUT_S, may_fail=True)
    given_up = chain.jobs(None, "dead")
    assert [(job["func"], job["name"], job["failures"]) for job in given_up] == [("save", "bad.jpg", 1)]
    assert "does not begin as a JPEG" in given_up[0]["reason"]
    assert len(chain.rows(pictures[:1])) == 5
    assert not (chain.folder / "bucket" / "bad.jpg").exists(), "nothing is published before anybody has looked"
    assert not (chain.run / "images" / "bad.jpg").exists()


def test_guetzli_may_take_longer_than_its_lease(chain: Chain) -> None:
    chain.start_daemon()
    chain.start_worker()
    chain.wait(lambda status: any(each["workers"] for each in status["functions"]), TIMEOUT_S)
    thumbnail = chain.run / "images" / "resize-image" / "x_fw500.jpg"
    thumbnail.parent.mkdir()
    with Image.open(ROOT / "tests" / "pictures" / "extreme-desert-hike.jpg") as image:
        image.thumbnail((400, 400))
        image.save(thumbnail, quality=98)
    shutil.copy(thumbnail, chain.run / "images" / "x.jpg")
    name = "resize-image/x_fw500.jpg"
    lock = ("--lock", "guetzli-megapixels")  # else its first run only says that it needs it
    assert chain.periodic("submit", "compress", name, "--lease", "1s", *lock).returncode == 0
    status = chain.wait(lambda status: bool(objects(chain)) and idle(status), TIMEOUT_S)
    assert {each["func"]: each["started"] for each in status["functions"] if each["started"]} == {
        "compress": 1,
        "upload-next-remove": 1,
    }
    assert re.search(rf"<Job compress {name} run \d+> goes on", (chain.run / "image-workers.log").read_text())


def test_a_picture_too_large_for_a_job_is_put_into_root_by_hand(chain: Chain, tmp_path: Path) -> None:
    """As docs/images.md says it."""
    picture = tmp_path / "big.jpg"
    Image.effect_noise((4200, 4200), 100).convert("RGB").save(picture, quality=100, subsampling="4:4:4")
    assert 16 * 2**20 < picture.stat().st_size < 64_000_000
    chain.start_daemon()
    chain.start_worker()
    assert "and may have 16,777,216" in chain.periodic("submit", "save", "big.jpg", "-w", f"@{picture}").stderr
    chain.wait(lambda status: any(each["workers"] for each in status["functions"]), TIMEOUT_S)
    shutil.copy(picture, chain.run / "images" / ".incoming" / "big")
    (chain.run / "images" / ".incoming" / "big").rename(chain.run / "images" / "big.jpg")
    for step in ("upload-next-compress", "resize-64"):
        assert chain.periodic("submit", step, "big.jpg").returncode == 0
    assert chain.periodic("submit", "remove", "big.jpg", "--in", "5d").returncode == 0
    chain.wait(idle, TIMEOUT_S)
    assert (chain.folder / "bucket" / "big.jpg").read_bytes() == picture.read_bytes()
    assert sorted(path.name for path in objects(chain)) == ["big.jpg", "big_fw64.jpg"]


def test_a_name_that_begins_with_a_dash(chain: Chain, pictures: list[Path]) -> None:
    """As docs/images.md says it."""
    pictures[0].rename(chain.folder / "-x.jpg")
    chain.start_daemon()
    chain.start_worker()
    content = f"@{chain.folder / '-x.jpg'}"
    assert chain.periodic("submit", "save", "-w", content, "--", "-x.jpg").returncode == 0
    chain.wait(idle, TIMEOUT_S)
    assert {path.name for path in objects(chain)} == {f"-x{suffix}" for suffix in (".jpg", *SUFFIXES)}


def test_a_picture_of_too_much_work_is_given_up_with_the_reason_and_what_comes_after_it_is_done(
    chain: Chain, pictures: list[Path], tmp_path: Path
) -> None:
    with (chain.folder / "config.yml").open("a") as config:
        config.write("decoding: {cpu-seconds: 1}\n")
    hostile = tmp_path / "hostile.jpg"
    hostile.write_bytes(progressive(8000, 8000, 95))
    chain.start_daemon()
    chain.start_worker()
    for picture in (hostile, pictures[0]):
        chain.submit(picture)
    chain.wait(idle, TIMEOUT_S, may_fail=True)
    given_up = {(job["func"], job["reason"], job["failures"]) for job in chain.jobs(None, "dead")}
    assert given_up == {
        (f"resize-{width}", "decoding took more than 1 s of CPU time", 1) for width in (1024, 500, 192, 64)
    }
    assert len(chain.rows(pictures[:1])) == 5
    assert chain.stop() == []


@pytest.mark.parametrize("ends", ["stopped", "killed"])
def test_a_worker_ends_while_its_children_hang_and_takes_them_with_it(
    chain: Chain, pictures: list[Path], ends: str
) -> None:
    config = (chain.folder / "config.yml").read_text().replace("enable-guetzli: true", "enable-guetzli: false")
    (chain.folder / "config.yml").write_text(config + "decoding: {seconds: 3000}\n")
    chain.start_daemon()
    chain.start_worker()
    chain.submit(pictures[0])
    chain.wait(lambda status: count(status, "resize-64", "started") == 1 and idle(status), TIMEOUT_S)
    decoding = children(chain._processes["image-workers"].pid)
    assert decoding
    hang(decoding)
    chain.submit(pictures[1])
    chain.wait(lambda status: count(status, "resize-64", "started") == 2, TIMEOUT_S)
    if ends == "killed":
        chain.kill("image-workers")
    else:
        assert chain.stop() == []
    all_end(decoding)


def test_the_line_of_the_demo_fits_a_narrow_terminal() -> None:
    functions = [{"func": f"resize-{width}", "running": 1000, "waiting": 100_000} for width in range(1, 100)]
    line = progress("photographs", {"functions": functions}, 12_345)
    assert len(line) <= LINE_COLUMNS < 80
    assert line.startswith("12345 s  photographs: 99000 running, 9900000 waiting  resize-1, ")
