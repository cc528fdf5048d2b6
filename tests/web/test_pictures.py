"""What the page's server does for those who mean well: uploads, states, links, news, all through the real chain."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.web.served import CONFIG, Served, events

GUETZLI = """
thread: 2
root: images
quality: 98
enable-guetzli: true
resizes: [{func: small, width: 48, suffix: _s.jpg}, {func: large, width: 160, suffix: _l.jpg}]
"""


def test_a_picture_goes_through_the_chain_and_its_news_tell_each_step(served: Served, photograph: Path) -> None:
    served.work()
    answer = served.upload(photograph.read_bytes())
    assert answer.status == 201
    picture = answer.json
    assert answer.headers["location"] == picture["link"] == f"/pictures/{picture['id']}"
    assert picture["original"]["bytes"] == photograph.stat().st_size
    told = events(served.ask("GET", f"/events?picture={picture['id']}").body)
    assert [kind for kind, _ in told[-2:]] == ["picture", "end"]
    last = told[-2][1]
    assert last["state"] == "done"
    assert [(step["step"], step["of"], step["state"]) for step in last["steps"]] == [
        ("publish", "original", "done"),
        ("thumbnails", "original", "done"),
        ("publish", 0, "done"),
        ("publish", 1, "done"),
    ]
    assert served.ask("GET", picture["link"]).json == last
    name = picture["id"].removesuffix(".jpg")
    assert served.files("bucket/uploads") == [f"{name}.jpg", f"{name}_fw500.jpg", f"{name}_fw64.webp"]
    for made, width in zip(last["thumbnails"], (500, 64), strict=True):
        shown = served.ask("GET", made["link"])
        assert (shown.status, shown.headers["content-type"]) == (200, f"image/{made['format']}")
        assert len(shown.body) == made["bytes"]
        (served.folder / "thumbnail").write_bytes(shown.body)
        with Image.open(served.folder / "thumbnail") as image:
            assert image.width == width
    published = served.folder / "bucket" / "uploads" / picture["id"]
    assert published.read_bytes() == photograph.read_bytes()


def test_news_come_while_the_steps_are_taken(served: Served, photograph: Path) -> None:
    """The listener is there before any worker is; so what it hears came over the stream, and not with its beginning."""
    picture = served.upload(photograph.read_bytes()).json
    assert {step["state"] for step in picture["steps"]} == {"waiting", "to come"}
    heard = []
    listener = threading.Thread(target=lambda: heard.append(served.ended(picture["id"])))
    listener.start()
    served.work()
    listener.join(20)
    assert heard[0]["state"] == "done"


def test_a_form_is_as_good_and_what_the_file_is_called_goes_nowhere(shared: Served, photograph: Path) -> None:
    for name in ("cat.jpg", "../../../etc/cat.jpg", "/etc/passwd", "%2e%2e%2fcat.jpg", "CON", "a" * 1000):
        answer = shared.form((name, photograph.read_bytes()))
        assert answer.status == 201, name
        assert "cat" not in answer.json["id"]
    assert shared.files("images") == [f"uploads/{each}" for each in shared.files("images/uploads")]
    assert {len(name) for name in shared.files("images/uploads")} == {36}


def test_bytes_before_and_after_guetzli(tmp_path: Path, photograph: Path) -> None:
    with Served(tmp_path, config=GUETZLI) as served:
        served.work()
        state = served.ended(served.upload(photograph.read_bytes()).json["id"])
        small, thumbnail = state["thumbnails"]
        assert state["state"] == "done"
        steps = [(step["step"], step["state"]) for step in state["steps"]]
        published = [("publish", "done"), ("compress", "done")]
        assert steps[2:5] == [*published, ("publish again", "not needed")]
        assert steps[6:] == [*published, ("publish again", "done")]
        assert small["bytes_before"] is None
        assert thumbnail["bytes"] < thumbnail["bytes_before"]
        assert len(served.ask("GET", thumbnail["link"]).body) == thumbnail["bytes"]


def test_links_lead_to_where_the_bucket_is_seen(tmp_path: Path, photograph: Path) -> None:
    with Served(tmp_path, "public-url: 'https://pictures.example.com/x/', folder: 'a b'") as served:
        served.work()
        state = served.ended(served.upload(photograph.read_bytes()).json["id"])
        name = state["id"].removesuffix(".jpg")
        assert state["original"]["url"] == f"https://pictures.example.com/x/a%20b/{name}.jpg"
        assert state["thumbnails"][1]["url"] == f"https://pictures.example.com/x/a%20b/{name}_fw64.webp"


def test_a_damaged_picture_fails_in_words(served: Served, photograph: Path) -> None:
    served.work()
    state = served.ended(served.upload(photograph.read_bytes()[:100_000]).json["id"])
    assert state["state"] == "failed"
    failed = [step for step in state["steps"] if step["state"] == "failed"]
    assert [step["step"] for step in failed] == ["thumbnails"]
    assert failed[0]["reason"] == "the JPEG is damaged: it ends before its last row"
    assert [step["state"] for step in state["steps"]] == ["done", "failed", "not reached", "not reached"]


def test_a_step_that_failed_tells_why_and_when_it_is_tried_again(served: Served, photograph: Path) -> None:
    picture = served.upload(photograph.read_bytes()).json
    (served.folder / "images" / "uploads" / picture["id"]).unlink()  # as a share that shows a file late
    served.work()
    with served.socket() as peer:
        peer.sendall(f"GET /events?picture={picture['id']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        said = b""
        while not (waiting := failed_and_waiting(said)):
            said += peer.recv(65_536)
    assert waiting[0]["due_at_ms"] is not None
    assert waiting[0]["attempt"]
    assert str(served.folder) not in waiting[0]["reason"]


def failed_and_waiting(said: bytes) -> list[dict[str, Any]]:
    """The first failure is tried again at once, so the step may be seen to run again in between."""
    steps = [step for _, state in events(said) for step in state.get("steps", ())]
    return [step for step in steps if step["state"] == "waiting" and "FileNotFound" in (step["reason"] or "")]


def test_the_token_is_for_those_who_send(tmp_path: Path, photograph: Path) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    token.chmod(0o600)
    with Served(tmp_path, "token-file: token") as served:
        for headers in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic open-sesame"}):
            refused = served.upload(photograph.read_bytes(), **headers)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "open-sesame" not in refused.json["error"]
        taken = served.upload(photograph.read_bytes(), Authorization="Bearer open-sesame")
        assert taken.status == 201
        assert served.ask("GET", taken.json["link"]).status == 200
        assert served.ask("GET", "/about").json["needs_token"]
        assert len(served.files("images")) == 1
        assert "open-sesame" not in served.said


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/about", "/nothing", "/pictures/x", "/events"])
def test_each_answer_makes_the_browser_strict(shared: Served, path: str) -> None:
    headers = shared.ask("GET", path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_the_page_has_nothing_inline(shared: Served) -> None:
    page = shared.ask("GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    assert b"style=" not in page.body
    assert b"<style" not in page.body
    assert page.body.count(b"<script") == 1


def test_it_listens_on_this_machine_alone_if_nothing_else_is_said(shared: Served) -> None:
    assert "the page is at http://127.0.0.1:" in shared.said


def test_what_cannot_be_served_ends_the_command_with_2(tmp_path: Path) -> None:
    for keys, words in [
        ("serve: {folder: resize-image}", "serve.folder: "),
        ("serve: {listen: '203.0.113.1:80'}", "serve.listen: 203.0.113.1:80 cannot be listened on"),
        ("serve: {token-file: none}", "none: cannot be read"),
        ("serve: {listen: 8080}", "serve.listen: must be a text"),
        ("serve: {connections: 100000}", "serve.connections: needs 100100 descriptors, and this process may have 5000"),
    ]:
        (tmp_path / "config.yml").write_text(f"{CONFIG}\n{keys}")
        command = ["bash", "-c", f"ulimit -n 5000; exec {sys.executable} -m image_workers serve"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 2, ended.stderr
        assert f"image-workers: {words}" in ended.stderr or words in ended.stderr
