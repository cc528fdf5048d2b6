"""What the page's server does for those who mean harm, or break: real sockets, and the same server afterwards."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.web.served import CONFIG, Served, head, read_all

PICTURE = Path(__file__).parent.parent.parent / "demo" / "pictures" / "canyon-wren.jpg"
MAX_BYTES = 4_000_000


def still_serves(served: Served) -> bool:
    return served.upload(PICTURE.read_bytes()).status == 201


def serves_again(served: Served) -> bool:
    """As soon as it has noticed that others have gone, which is less than the time that it gives a head."""
    until_s = time.monotonic() + 6
    while time.monotonic() < until_s:
        try:
            if still_serves(served):
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_too_large_by_its_own_word_is_refused_before_it_is_sent(shared: Served) -> None:
    with shared.socket() as peer:
        peer.sendall(head("POST", "/pictures", Content_Length="10000000000"))
        answer = read_all(peer)
    assert status(answer) == 413
    assert b"larger than 4,000,000 bytes" in answer
    assert still_serves(shared)


@pytest.mark.parametrize("lie", ["no length", "a form"])
def test_too_large_without_a_word_is_refused_on_the_way(shared: Served, lie: str) -> None:
    """It begins as a picture, and who sends it reads the answer only after that failed."""
    before = shared.files("images")
    start = PICTURE.read_bytes()
    more = {"Content_Type": "multipart/form-data; boundary=limit"} if lie == "a form" else {}
    form = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    with shared.socket() as peer:
        peer.sendall(head("POST", "/pictures", Transfer_Encoding="chunked", **more))
        sent = 0
        try:
            for part in ([form] if lie == "a form" else []) + [start] + [b"\0" * 65_536] * 200:
                peer.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                sent += len(part)
        except OSError:
            pass
        answer = read_all(peer)
    assert not answer or status(answer) == 413
    assert shared.files("images") == before
    assert still_serves(shared)


def test_an_upload_is_never_held_whole(tmp_path: Path) -> None:
    """Eight pictures of 60 MB, all at once and from one address as the configuration allows."""
    keys = "uploads-at-once: 32, per-address: {megabytes-an-hour: 10000}"
    content = PICTURE.read_bytes() + os.urandom(1_000_000) * 60
    with Served(tmp_path, keys, config=CONFIG.replace("max-megabytes: 4", "max-megabytes: 64")) as served:
        assert still_serves(served)
        before_mb = served.rss_mb()
        peers = [served.socket() for _ in range(8)]
        for peer in peers:
            peer.sendall(head("POST", "/pictures", Content_Length=str(len(content))))
        highest_mb = 0.0
        for at in range(0, len(content), 1_000_000):
            for peer in peers:
                peer.sendall(content[at : at + 1_000_000])
            highest_mb = max(highest_mb, served.rss_mb())
        for peer in peers:
            peer.shutdown(socket.SHUT_WR)
            assert status(peer.recv(65_536)) == 201
            peer.close()
        highest_mb = max(highest_mb, served.rss_mb())
        assert highest_mb - before_mb < 60


def test_an_upload_that_is_cut_off_leaves_nothing(shared: Served) -> None:
    before = shared.files("images")
    with shared.socket() as peer:
        peer.sendall(head("POST", "/pictures", Content_Length="327412") + PICTURE.read_bytes()[:100_000])
    answer = shared.form(("x.jpg", PICTURE.read_bytes()), ending=b"")
    assert (answer.status, answer.json["error"]) == (400, "the form was cut off; send it again")
    assert shared.files("images") == before
    assert still_serves(shared)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 400, "the upload is empty"),
        (b"<html><script>alert(1)</script>", 415, "does not begin as a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 415, "does not begin as a JPEG"),
        (b"\0" * 3_000_000, 415, "does not begin as a JPEG"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(shared: Served, content: bytes, code: int, words: str) -> None:
    before = shared.files("images")
    answer = shared.upload(content, Content_Type="image/jpeg")
    assert answer.status == code
    assert words in answer.json["error"]
    assert shared.files("images") == before
    assert still_serves(shared)


def test_a_wrong_type_is_refused_and_a_false_one_does_not_matter(shared: Served) -> None:
    for kind in ("text/html", "application/json", "application/x-www-form-urlencoded"):
        answer = shared.upload(PICTURE.read_bytes(), Content_Type=kind)
        assert answer.status == 415
        assert "send the picture itself as image/jpeg" in answer.json["error"]
    answer = shared.upload(PICTURE.read_bytes(), Content_Type="image/png")
    assert answer.json["id"].endswith(".jpg")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 1000])
def test_a_form_that_cannot_be_read_is_refused(shared: Served, kind: str) -> None:
    assert shared.upload(b"--x\r\n\r\n", Content_Type=kind).status == 400
    assert shared.form(("a.jpg", PICTURE.read_bytes()), ("b.jpg", PICTURE.read_bytes())).status == 400
    assert shared.form().json["error"] == "the form has no file; send one, under any name"
    assert still_serves(shared)


@pytest.mark.parametrize("path", ["/pictures/../../etc/passwd", "/pictures/%2e%2e%2fx.jpg", "/pictures/" + "0" * 32,
                                  f"/pictures/{'0' * 32}.jpg", f"/pictures/{'0' * 32}.jpg/thumbnails/0",
                                  f"/pictures/{'0' * 32}.jpg/thumbnails/7", "/page.html", "/page/page.js"])  # fmt: skip
def test_nothing_is_to_be_had_under_a_name_that_is_none(shared: Served, path: str) -> None:
    answer = shared.ask("GET", path)
    assert answer.status == 404
    assert answer.json["error"]


def test_a_head_that_comes_a_byte_at_a_time_is_cut_off(tmp_path: Path) -> None:
    with Served(tmp_path, impatient="from image_workers.web import listening; listening.HEAD_S = 1") as served:
        begun_s = time.monotonic()
        with served.socket() as peer:
            peer.settimeout(0.1)
            closed = False
            while not closed and time.monotonic() < begun_s + 10:
                try:
                    peer.send(b"G")
                    closed = peer.recv(100) == b""
                except TimeoutError:
                    pass
                except OSError:
                    closed = True
        assert closed
        assert still_serves(served)


def test_a_body_that_comes_a_byte_at_a_time_is_cut_off_in_words(tmp_path: Path) -> None:
    with Served(tmp_path, impatient="from image_workers.web import uploads; uploads.GRACE_S = 1") as served:
        with served.socket() as peer:
            peer.sendall(head("POST", "/pictures", Content_Length="300000"))
            answer = b""
            peer.settimeout(0.1)
            for _ in range(100):
                try:
                    peer.send(b"\xff")
                    answer += peer.recv(65_536)
                except TimeoutError:
                    pass
                if b"}" in answer:
                    break
        assert status(answer) == 408
        assert b"the upload was too slow" in answer
        assert still_serves(served)


def test_who_sends_on_after_the_answer_holds_nothing(tmp_path: Path) -> None:
    """More than its queue takes, to a server that waits for the daemon and then says no: the connection must end."""
    short = "from image_workers.web import app, edge; app.DAEMON_S = 0.5; edge.LINGER_S = 0.3"
    with Served(tmp_path, impatient=short) as served:
        os.kill(served.daemon.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with served.socket() as peer:
                    peer.settimeout(5)
                    try:
                        peer.sendall(head("POST", "/pictures", Transfer_Encoding="chunked"))
                        for _ in range(100):
                            peer.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                    except OSError:
                        pass
                    assert b"503" in read_all(peer)[:20]
        finally:
            os.kill(served.daemon.pid, signal.SIGCONT)
        assert serves_again(served)


def test_thousands_of_listeners_find_a_limit(tmp_path: Path) -> None:
    keys = "listeners: 40, connections: 4000"
    with Served(tmp_path, keys) as served:
        picture = served.upload(PICTURE.read_bytes()).json
        ask = head("GET", f"/events?picture={picture['id']}")
        peers = []
        refused = 0
        try:
            for _ in range(1200):
                peer = served.socket()
                peers.append(peer)
                try:
                    peer.sendall(ask)
                except OSError:
                    refused += 1
            for peer in peers[10:60]:  # of one address are a quarter
                assert status(peer.recv(65_536)) == 503
            assert [status(peer.recv(65_536)) for peer in peers[:10]] == [200] * 10
            assert served.rss_mb() < 250
        finally:
            for peer in peers:
                peer.close()
        until_s = time.monotonic() + 20
        while (answer := served.ask("GET", "/about")).status != 200:
            assert time.monotonic() < until_s
        assert answer.json["max_bytes"] == MAX_BYTES
        while True:  # the places of those who left are free again
            with served.socket() as peer:
                peer.sendall(ask)
                if status(peer.recv(65_536)) == 200:
                    break
            assert time.monotonic() < until_s


def test_connections_have_a_limit_and_one_address_a_part_of_it(tmp_path: Path) -> None:
    with Served(tmp_path, "connections: 40") as served:
        peers = [served.socket() for _ in range(30)]
        closed = 0
        for peer in peers:
            peer.settimeout(0.2)
            try:
                closed += peer.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed += 1
        assert closed == 20
        for peer in peers:
            peer.close()
        assert serves_again(served)


def test_rates_have_a_limit_and_say_when_to_come_again(tmp_path: Path) -> None:
    with Served(tmp_path, "per-address: {uploads-a-minute: 2, megabytes-an-hour: 1}") as served:
        assert still_serves(served)
        more = served.upload(b"\xff\xd8\xff\xe0" + b"x" * 900_000)
        assert (more.status, more.json["error"]) == (429, "more than 1 MB an hour")
        assert int(more.headers["retry-after"]) > 60
        again = served.upload(PICTURE.read_bytes())
        assert (again.status, again.json["error"]) == (429, "more than 2 uploads a minute")
        assert 1 <= int(again.headers["retry-after"]) <= 30
        assert len(served.files("images")) == 1


def test_who_asks_and_never_reads_is_let_go(tmp_path: Path) -> None:
    short = "from image_workers.web import listening; listening.SEND_S = 1"
    with Served(tmp_path, "connections: 4", impatient=short) as served, served.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(3)
        try:
            for _ in range(1000):
                peer.sendall(head("GET", "/page.js"))
        except OSError:
            pass
        assert serves_again(served)  # of four connections, one address has one


def test_behind_a_proxy_the_last_word_of_its_header_is_the_address(tmp_path: Path) -> None:
    with Served(tmp_path, "forwarded: true, per-address: {uploads-a-minute: 1}") as served:
        codes = [
            served.upload(PICTURE.read_bytes(), X_Forwarded_For=said).status
            for said in ("9.9.9.9, 192.0.2.1", "8.8.8.8, 192.0.2.1", "192.0.2.2")
        ]
        assert codes == [201, 429, 201]


def test_a_page_of_another_site_may_not_upload(shared: Served) -> None:
    content = PICTURE.read_bytes()
    assert shared.upload(content, Origin="https://evil.example").status == 403
    assert shared.upload(content, Origin="null").status == 403
    assert shared.upload(content, Origin=f"http://127.0.0.1:{shared.port}").status == 201


def test_http_2_and_websockets_are_not_spoken(shared: Served) -> None:
    with shared.socket() as peer:
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert read_all(peer) == b""
    keys = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": "eA==", "Sec_WebSocket_Version": "13"}
    with shared.socket() as peer:
        peer.sendall(head("GET", "/events", **keys))
        assert status(peer.recv(1000)) == 403
    assert still_serves(shared)


def test_while_the_daemon_is_away_uploads_are_refused_in_words_and_taken_afterwards(served: Served) -> None:
    picture = served.upload(PICTURE.read_bytes()).json
    served.daemon.stop()
    answer = served.upload(PICTURE.read_bytes())
    assert answer.status == 503
    assert "the job server cannot be reached, so nothing was done; try again soon" in answer.json["error"]
    assert "tcp" not in answer.json["error"], "where the daemon is, is nobody's business"
    assert answer.headers["retry-after"] == "5"
    assert served.ask("GET", picture["link"]).status == 503
    assert len(served.files("images")) == 1
    served.daemon.start()
    assert still_serves(served)
    assert served.ask("GET", picture["link"]).json["state"] == "working"


def test_who_listens_while_the_daemon_is_away_is_told_and_hears_the_rest(served: Served) -> None:
    picture = served.upload(PICTURE.read_bytes()).json
    served.daemon.stop()
    with served.socket() as peer:
        peer.sendall(head("GET", f"/events?picture={picture['id']}"))
        said = b""
        while b"is away; trying again" not in said:
            said += peer.recv(65_536)
        served.daemon.start()
        served.work()
        while b"event: end" not in said:
            said += peer.recv(65_536)
    assert b'"state": "done", "trouble": null' in said


def test_without_room_on_the_disk_an_upload_is_told_to_come_again(tmp_path: Path) -> None:
    keys = "uploads-at-once: 32"
    with Served(tmp_path, keys, config=f"{CONFIG}\nscratch: {{megabytes: 16}}") as served:
        peers = [served.socket() for _ in range(3)]
        for peer in peers:
            peer.sendall(head("POST", "/pictures", Content_Length="4000000", Expect="100-continue"))
            assert status(peer.recv(1000)) == 100  # which comes when somebody reads
        time.sleep(0.5)
        answer = served.ask("POST", "/pictures", PICTURE.read_bytes() + b"\0" * 3_700_000, Content_Type="image/jpeg")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        for peer in peers:
            peer.close()
        assert serves_again(served)
