"""Uploads over a real socket, to a server that checks signatures with code that shares nothing with oss2."""

import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from demo.oss import ACCESS_ID, ACCESS_KEY, BUCKET, OssServer
from image_workers.config import parse
from image_workers.decoder import Decoder
from image_workers.errors import ConfigError, Refused
from image_workers.functions import ImageFunctions
from image_workers.progress import Progress, Stopped, keep
from image_workers.starting import prepare
from image_workers.stores import Stat
from image_workers.stores.folder import FolderStore
from image_workers.stores.oss import OssStore
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import OssConfig
from periodic_client import Done, Failed, Later

SCRATCH = Scratch(None, 100_000_000)


def configured(server: OssServer, **keys: Any) -> OssConfig:
    bucket = parse(server.configuration("", **keys)).bucket
    assert isinstance(bucket, OssConfig)
    return bucket


def opened(server: OssServer, **keys: Any) -> OssStore:
    return OssStore(configured(server, **keys), connections=2, scratch=SCRATCH)


def put(bucket: OssStore, key: str, content: bytes = b"bytes") -> None:
    bucket.put(key, io.BytesIO(content), "image/jpeg")


@pytest.mark.parametrize("signature", ["v4", "v1"])
class TestSignatures:
    def test_all_requests_are_signed_as_the_vendor_s_own_code_does(self, server: OssServer, signature: str) -> None:
        opened(server, signature=signature).put("2024/x.jpg", io.BytesIO(b"content"), "image/png")
        state = server.state()
        assert state["objects"] == {f"{BUCKET}/2024/x.jpg": {"type": "image/png", "size": 7}}
        assert server.read("2024/x.jpg") == b"content"
        assert [(each["method"], each["status"]) for each in state["requests"]] == [
            ("GET", 404), ("PUT", 200), ("GET", 200), ("PUT", 200), ("PUT", 200), ("DELETE", 204),
        ]  # fmt: skip
        assert all(each["signed"] and each["signature"] == signature for each in state["requests"])

    @pytest.mark.parametrize(
        "key",
        ["图/照片 1.jpg", "a b+c.jpg", "100%.jpg", "%2e%2e/x", "x.png~_fw64.jpg", "é&=#;'*().jpg", "?x.jpg", "🙂"],
    )
    def test_names_arrive_unchanged(self, server: OssServer, signature: str, key: str) -> None:
        put(opened(server, signature=signature, root_path="/相册 1/+%"), key)
        assert list(server.state()["objects"]) == [f"{BUCKET}/相册 1/+%/{key}"]

    def test_a_wrong_key_is_refused(self, server: OssServer, signature: str) -> None:
        with pytest.raises(ConfigError, match="403 SignatureDoesNotMatch"):
            opened(server, signature=signature, access_key="another")
        assert server.state()["buckets"] == {}


LENT = {"key": "a-lent-key", "token": "the-token-that-goes-with-it"}


@pytest.mark.parametrize("signature", ["v4", "v1"])
class TestLentKeys:
    def test_the_token_goes_with_every_request(self, server: OssServer, signature: str) -> None:
        server.tell("access", **LENT)
        put(opened(server, signature=signature, access_key=LENT["key"], security_token=LENT["token"]), "x")
        assert server.read("x") == b"bytes"
        assert all(request["signed"] for request in server.state()["requests"])

    @pytest.mark.parametrize("token", [{}, {"security_token": "another"}])
    def test_without_it_the_key_is_refused(self, server: OssServer, signature: str, token: dict[str, str]) -> None:
        server.tell("access", **LENT)
        with pytest.raises(ConfigError, match=r"403 InvalidSecurityToken.*; check access_id, access_key, security_tok"):
            opened(server, signature=signature, access_key=LENT["key"], **token)


@pytest.mark.parametrize("signature", ["v4", "v1"])
def test_a_domain_of_one_s_own_is_the_bucket(
    server: OssServer, monkeypatch: pytest.MonkeyPatch, signature: str
) -> None:
    host, port = "pictures.example.com", int(server.endpoint.rpartition(":")[2])
    resolve = socket.getaddrinfo

    def resolved(name: str, *others: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if name == host else name, *others, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    server.tell("bucket", name=BUCKET, acl="private")
    server.tell("domain", host=host, bucket=BUCKET)
    keys = {"endpoint": f"http://{host}:{port}", "own-domain": True}
    put(opened(server, signature=signature, **keys), "2024/x y.jpg")
    assert server.read("2024/x y.jpg") == b"bytes"
    assert all(request["signed"] for request in server.state()["requests"])


@pytest.mark.parametrize("signature", ["v4", "v1"])
def test_objects_get_the_headers_that_are_configured(server: OssServer, signature: str) -> None:
    keys = {"cache-control": "public, max-age=31536000", "object-acl": "public-read"}
    put(opened(server, signature=signature, **keys), "x")
    assert server.state()["objects"] == {
        f"{BUCKET}/x": {"type": "image/jpeg", "size": 5, "cache": "public, max-age=31536000", "acl": "public-read"}
    }
    assert all(request["signed"] for request in server.state()["requests"])


def test_a_missing_bucket_is_made_for_its_owner_alone(server: OssServer) -> None:
    opened(server)
    assert server.state()["buckets"] == {BUCKET: "private"}


def test_a_bucket_that_exists_is_left_as_it_is(server: OssServer) -> None:
    server.tell("bucket", name=BUCKET, acl="public-read")
    put(opened(server), "x")
    assert server.state()["buckets"] == {BUCKET: "public-read"}


def test_the_rest_of_the_content_is_put_in_place_of_the_earlier_object(server: OssServer) -> None:
    bucket = opened(server)
    put(bucket, "x", b"long" * 100_000)
    content = io.BytesIO(b"head and rest")
    content.seek(9)
    bucket.put("x", content, "image/jpeg")
    assert server.read("x") == b"rest"


def test_an_empty_object(server: OssServer) -> None:
    put(opened(server), "x", b"")
    assert server.read("x") == b""


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a\nb", "a\\b", ""])
def test_a_hostile_key_is_refused_without_asking(server: OssServer, key: str) -> None:
    bucket = opened(server)
    before = len(server.state()["requests"])
    with pytest.raises(Refused):
        put(bucket, key)
    assert len(server.state()["requests"]) == before


async def test_threads_share_the_kept_connections(server: OssServer) -> None:
    bucket = OssStore(configured(server), connections=4, scratch=SCRATCH)
    limiter = trio.CapacityLimiter(4)
    async with trio.open_nursery() as nursery:
        for number in range(40):
            upload = partial(put, bucket, f"{number}", b"%d" % number)
            nursery.start_soon(partial(trio.to_thread.run_sync, upload, limiter=limiter))
    assert all(server.read(f"{number}") == b"%d" % number for number in range(40))
    assert len({request["port"] for request in server.state()["requests"]}) <= 4


async def nothing(_func: str, _name: str) -> None:
    """There is no job."""


class Uploads:
    """The function `upload` of real image workers on the server's bucket."""

    def __init__(self, server: OssServer, folder: Path, timeout_s: float) -> None:
        text = server.configuration("")
        config = parse(text)
        root = FolderStore(folder / "root")
        self.content = b"\xff\xd8\xff\xe0" + os.urandom(1_000_000)
        root.write("x.jpg", self.content)
        bucket = OssStore(configured(server), connections=2, scratch=SCRATCH, timeout_s=timeout_s)
        functions = ImageFunctions(config, root, bucket, None, nothing, Decoder(1, config.decoding)).served()
        self._call = next(function.call for function in functions if function.func == "upload")

    async def outcome(self) -> Done | Failed:
        outcome = await self._call(StandInJob("x.jpg", b""))  # type: ignore[arg-type]
        assert not isinstance(outcome, Later)
        return outcome

    async def failed(self) -> Failed:
        outcome = await self.outcome()
        assert isinstance(outcome, Failed)
        return outcome


@dataclass
class StandInJob:
    """What the function reads of a job."""

    name: str
    workload: bytes
    func: str = "upload"
    lease_ms: int = 300_000
    lost: bool = False

    async def extend(self) -> None:
        """The step is over before that."""


@pytest.fixture
def uploads(server: OssServer, tmp_path: Path) -> Uploads:
    return Uploads(server, tmp_path, timeout_s=2)


def error(status: int, code: str) -> dict[str, str | int]:
    return {"kind": "error", "status": status, "code": code}


class TestLateUploads:
    """OSS, or a proxy before it, has all of a request and does it minutes later, when nobody waits for it any more."""

    @pytest.mark.parametrize("on", ["PUT", "COPY"])
    async def test_the_first_upload_never_comes_back_over_the_compressed_one(self, server: OssServer, on: str) -> None:
        bucket = OssStore(configured(server), connections=2, scratch=SCRATCH, timeout_s=0.5)
        server.tell("hold", on=on)
        # Whoever uploads it cannot put things in order any more, as if it were killed.
        server.tell("fault", on="DELETE", times=1, **error(503, "ServiceUnavailable"))
        with pytest.raises(OSError, match=r"cannot be reached: .*timed out"):
            put(bucket, "x.jpg", b"the big file")
        put(bucket, "x.jpg", b"the big file")
        put(bucket, "x.jpg", b"compressed")
        server.tell("release")
        assert server.read("x.jpg") == b"compressed"
        put(bucket, "x.jpg", b"newer")
        assert server.read("x.jpg") == b"newer"
        assert list(server.state()["objects"]) == [f"{BUCKET}/x.jpg"], "what came late has no name, and is taken away"

    async def test_nor_does_it_come_back_after_the_picture_was_removed(self, server: OssServer) -> None:
        bucket = OssStore(configured(server), connections=2, scratch=SCRATCH, timeout_s=0.5)
        server.tell("hold", on="COPY")
        server.tell("fault", on="DELETE", times=1, **error(503, "ServiceUnavailable"))
        with pytest.raises(OSError, match=r"cannot be reached: .*timed out"):
            put(bucket, "x.jpg", b"the big file")
        bucket.remove("x.jpg")
        server.tell("release")
        assert server.state()["objects"] == {}

    async def test_nor_does_one_whose_worker_was_left_behind_while_it_waited(self, server: OssServer) -> None:
        bucket = OssStore(configured(server), connections=2, scratch=SCRATCH, timeout_s=1000)
        server.tell("hold", on="PUT")
        progress = Progress()
        ended = threading.Event()

        def first() -> None:
            try:
                bucket.put("x.jpg", io.BytesIO(b"the big file"), "image/jpeg", progress)
            finally:
                ended.set()

        with pytest.raises(Stopped, match=r"nothing moved for 0\.2 s"):
            await keep(
                StandInJob("x", b""), progress, partial(trio.to_thread.run_sync, first, abandon_on_cancel=True), 0.2
            )
        put(bucket, "x.jpg", b"compressed")
        server.tell("release")
        await trio.to_thread.run_sync(ended.wait)
        assert server.read("x.jpg") == b"compressed"
        assert list(server.state()["objects"]) == [f"{BUCKET}/x.jpg"]


class TestAsAStore:
    """What the workers ask of any store; the others are held to it in tests/stores."""

    def test_what_was_put_is_there_with_its_version_until_it_is_removed(self, server: OssServer) -> None:
        bucket = opened(server, root_path="photos")
        assert bucket.stat("a/x.jpg") is None
        version = bucket.put("a/x.jpg", io.BytesIO(b"content"), "image/jpeg")
        assert bucket.stat("a/x.jpg") == Stat(7, version)
        assert bucket.read("a/x.jpg", 7) == (b"content", version)
        newer = bucket.put("a/x.jpg", io.BytesIO(b"another"), "image/jpeg")
        assert newer != version
        assert bucket.remove("a/x.jpg", version) is False
        assert bucket.remove("a/x.jpg", newer) is True
        assert bucket.remove("a/x.jpg") is False
        with pytest.raises(FileNotFoundError):
            bucket.read("a/x.jpg", 7)

    def test_what_is_read_is_limited_and_compared_with_its_checksum(self, server: OssServer) -> None:
        bucket = opened(server)
        put(bucket, "x", b"12345678")
        with pytest.raises(Refused, match="larger than 7 bytes"):
            bucket.read("x", 7)
        server.tell("fault", kind="corruptAnswer", times=1, on="GET")
        with pytest.raises(OSError, match="its checksum is another one"):
            bucket.read("x", 8)

    def test_all_objects_are_listed_page_by_page(self, server: OssServer) -> None:
        bucket = opened(server, root_path="photos", signature="v1")
        keys = [f"图 {number:03}.jpg" for number in range(101)]
        for key in keys:
            put(bucket, key)
        assert [(each.name, each.size) for each in bucket.entries()] == [(key, 5) for key in keys]
        assert list(bucket.unfinished()) == []


class TestKeyFiles:
    @pytest.mark.parametrize("signature", ["v4", "v1"])
    def test_a_lent_key_is_exchanged_while_the_worker_runs(
        self, server: OssServer, tmp_path: Path, signature: str
    ) -> None:
        keys = tmp_path / "oss.yml"

        def lend(key: str, token: str) -> None:
            server.tell("access", key=key, token=token)
            newer = tmp_path / "newer"
            newer.write_text(f"access_id: {ACCESS_ID}\naccess_key: {key}\nsecurity_token: {token}\n")
            newer.chmod(0o600)
            newer.replace(keys)

        lend("first-key", "first-token")
        config = parse(server.configuration("", signature=signature, **{"key-file": str(keys)})).bucket
        assert isinstance(config, OssConfig)
        bucket = OssStore(config, connections=2, scratch=SCRATCH)
        put(bucket, "x", b"one")
        server.tell("access", key="third-key")
        with pytest.raises(OSError, match="403 SignatureDoesNotMatch"):
            put(bucket, "x", b"two")
        lend("second-key", "second-token")
        put(bucket, "x", b"two")
        assert server.read("x") == b"two"
        keys.unlink()
        with pytest.raises(OSError, match=r"oss\.yml: cannot be read: No such file"):
            put(bucket, "x", b"three")

    def test_one_that_others_may_read_ends_the_start(self, server: OssServer, tmp_path: Path) -> None:
        (tmp_path / "oss.yml").write_text(f"access_id: {ACCESS_ID}\naccess_key: {ACCESS_KEY}\n")
        (tmp_path / "oss.yml").chmod(0o640)
        ended = image_workers(tmp_path, server.configuration("", **{"key-file": "oss.yml"}))
        assert ended.returncode == 2
        assert ended.stderr == (
            "image-workers: oss.yml: holds a key, and others than its owner may read or write it; chmod 600 oss.yml\n"
        )


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (error(503, "ServiceUnavailable"), r"OSS answered 503 ServiceUnavailable \(request R\d+\): This is Serv"),
            (error(500, "InternalError"), "500 InternalError"),
            (error(400, "RequestTimeout"), "400 RequestTimeout"),
            (error(403, "AccessDenied"), "403 AccessDenied"),
            (error(404, "NoSuchBucket"), "404 NoSuchBucket"),
            ({"kind": "bare"}, "OSS answered 502 without an error code"),
            ({"kind": "silent"}, "OSS cannot be reached: .*timed out"),
            ({"kind": "cutInRequest"}, "OSS cannot be reached: "),
            ({"kind": "cutInAnswer"}, "the answer 200 has no checksum: it was cut off"),
            ({"kind": "redirect"}, "the answer 200 has no checksum: .*does not come from OSS"),
            ({"kind": "corrupt"}, "OSS stored other bytes than were sent: .*req_id: R"),
        ],
        ids=lambda value: value.get("code", value["kind"]) if isinstance(value, dict) else "",
    )
    async def test_what_may_do_later_is_tried_again_and_then_does(
        self, server: OssServer, uploads: Uploads, fault: dict[str, str | int], reason: str
    ) -> None:
        server.tell("fault", times=2, on="PUT", **fault)
        for _ in range(2):
            failed = await uploads.failed()
            assert not failed.final
            assert failed.delay_ms is None, "the job's rule decides"
            assert re.search(reason, failed.reason)
        assert isinstance(await uploads.outcome(), Done)
        assert server.read("x.jpg") == uploads.content

    @pytest.mark.parametrize("on", ["GET", "COPY"])
    @pytest.mark.parametrize(
        "fault",
        [error(503, "ServiceUnavailable"), {"kind": "cutInAnswer"}, {"kind": "redirect"}, {"kind": "silent"}],
        ids=lambda value: str(value["kind"]),
    )
    async def test_the_requests_around_an_upload_may_fail_as_well(
        self, server: OssServer, uploads: Uploads, fault: dict[str, str | int], on: str
    ) -> None:
        server.tell("fault", times=1, on=on, **fault)
        failed = await uploads.failed()
        assert not failed.final
        assert "OSS" in failed.reason
        assert isinstance(await uploads.outcome(), Done)
        assert server.read("x.jpg") == uploads.content
        assert list(server.state()["objects"]) == [f"{BUCKET}/x.jpg"], "nothing is left without a name"

    async def test_an_upload_whose_last_request_fails_leaves_nothing_without_a_name(
        self, server: OssServer, uploads: Uploads
    ) -> None:
        server.tell("fault", times=1, on="DELETE", **error(503, "ServiceUnavailable"))
        assert isinstance(await uploads.outcome(), Done)
        assert len(server.state()["objects"]) == 2
        assert isinstance(await uploads.outcome(), Done)
        assert list(server.state()["objects"]) == [f"{BUCKET}/x.jpg"]

    @pytest.mark.parametrize("code", ["InvalidObjectName", "InvalidArgument", "EntityTooLarge"])
    async def test_what_will_never_do_is_given_up(self, server: OssServer, uploads: Uploads, code: str) -> None:
        server.tell("fault", times=1, **error(400, code))
        failed = await uploads.failed()
        assert failed.final
        assert f"400 {code}" in failed.reason

    async def test_a_key_exchanged_meanwhile_is_tried_again(self, server: OssServer, uploads: Uploads) -> None:
        server.tell("access", key="a-newer-key")
        failed = await uploads.failed()
        assert not failed.final
        assert "403 SignatureDoesNotMatch" in failed.reason
        server.tell("access", key=ACCESS_KEY)
        assert isinstance(await uploads.outcome(), Done)

    async def test_a_server_that_is_gone_is_tried_again(self, server: OssServer, uploads: Uploads) -> None:
        server.__exit__()
        failed = await uploads.failed()
        assert not failed.final
        assert "OSS cannot be reached" in failed.reason


async def test_a_server_that_stands_still_is_not_waited_for_whatever_its_connection_allows(server: OssServer) -> None:
    bucket = OssStore(configured(server), connections=2, scratch=SCRATCH, timeout_s=1000)
    server.tell("fault", kind="silent", times=1, on="PUT")
    progress = Progress()
    upload = partial(bucket.put, "x", io.BytesIO(b"bytes"), "image/jpeg", progress)
    with pytest.raises(Stopped, match="nothing moved for 1 s"):
        await keep(
            StandInJob("x", b""), progress, partial(trio.to_thread.run_sync, upload, abandon_on_cancel=True), 1.0
        )
    assert progress.bytes == 5


async def test_neither_key_nor_signature_is_logged_or_told(
    server: OssServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        opened(server, signature="v1")
        assert isinstance(await uploads.outcome(), Done)
        server.tell("access", key="a-newer-key")
        told = [(await uploads.failed()).reason]
        with pytest.raises(ConfigError) as refused:
            opened(server)
        told.append(str(refused.value))
        server.tell("access", key=ACCESS_KEY)
        server.tell("fault", kind="corrupt", times=1, on="PUT")
        told.append((await uploads.failed()).reason)
    assert '"PUT /pictures/x.jpg HTTP/1.1" 200' in caplog.text, "the log is at DEBUG"
    signatures = [re.split(":|Signature=", each["authorization"])[-1] for each in server.state()["requests"]]
    assert min(map(len, signatures)) >= 28, "the length of a SHA-1 in base 64"
    for text in (caplog.text, *told):
        for secret in (ACCESS_KEY, "a-newer-key", *signatures):
            assert secret not in text


def image_workers(folder: Path, config: str) -> subprocess.CompletedProcess[str]:
    (folder / "config.yml").write_text(config)
    return subprocess.run(
        [sys.executable, "-m", "image_workers"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


class TestAtTheStart:
    @pytest.mark.parametrize(
        ("fault", "code", "message"),
        [
            (error(403, "AccessDenied"), 2, "403 AccessDenied"),
            (error(403, "RequestTimeTooSkewed"), os.EX_TEMPFAIL, "403 RequestTimeTooSkewed"),
            (error(503, "ServiceUnavailable"), os.EX_TEMPFAIL, "503 ServiceUnavailable"),
            ({"kind": "redirect"}, os.EX_TEMPFAIL, "does not answer as OSS does"),
            ({"kind": "cutInAnswer"}, os.EX_TEMPFAIL, "does not answer as OSS does"),
        ],
    )
    def test_the_exit_code_tells_the_configuration_s_faults_from_the_network_s(
        self, server: OssServer, tmp_path: Path, fault: dict[str, str | int], code: int, message: str
    ) -> None:
        server.tell("fault", times=1, **fault)
        ended = image_workers(tmp_path, server.configuration("", **{"wait-at-start": "1s"}))
        assert ended.returncode == code
        assert "image-workers: bucket: " in ended.stderr
        assert server.endpoint in ended.stderr
        assert message in ended.stderr

    def test_a_bucket_that_does_not_answer_at_once_is_tried_again(self, server: OssServer, tmp_path: Path) -> None:
        server.tell("fault", times=1, **error(503, "ServiceUnavailable"))
        prepared = prepare(parse(server.configuration(f"root: {tmp_path}/images")))
        assert prepared.bucket is not None
        prepared.bucket.put("x", io.BytesIO(b"bytes"), "image/jpeg")
        assert [request["status"] for request in server.state()["requests"]][:3] == [503, 404, 200]

    def test_a_wrong_key_exits_2_and_is_not_shown(self, server: OssServer, tmp_path: Path) -> None:
        ended = image_workers(tmp_path, server.configuration("", access_key="a-wrong-key"))
        assert ended.returncode == 2
        said = f"image-workers: bucket: {BUCKET} at {server.endpoint} cannot be used: OSS answered 403 SignatureDoesNot"
        assert ended.stderr.startswith(said)
        assert ended.stderr.endswith(
            "; check access_id, access_key, security_token, the key's rights and this machine's clock\n"
        )
        assert "a-wrong-key" not in ended.stderr
        assert server.state()["requests"][0]["authorization"] not in ended.stderr

    def test_an_endpoint_where_nobody_is_exits_75(self, server: OssServer, tmp_path: Path) -> None:
        config = server.configuration("", **{"wait-at-start": "1s"})
        server.__exit__()
        ended = image_workers(tmp_path, config)
        assert ended.returncode == 75, "EX_TEMPFAIL: a supervisor starts it again"
        assert f"{server.endpoint}: OSS cannot be reached: " in ended.stderr

    def test_a_missing_oss2_exits_2_and_is_named(self, server: OssServer, tmp_path: Path) -> None:
        (tmp_path / "oss2.py").write_text("raise ModuleNotFoundError(\"No module named 'oss2'\", name='oss2')")
        ended = image_workers(tmp_path, server.configuration(""))
        assert (ended.returncode, ended.stderr) == (
            2,
            "image-workers: bucket: oss2 is not installed; pip install 'periodicd[oss]'\n",
        )

    def test_a_directory_needs_no_oss2(self, tmp_path: Path) -> None:
        program = "import sys; from image_workers.config import load; from pathlib import Path\n"
        program += "from image_workers.starting import prepare; prepare(load(Path('config.yml')))\n"
        program += "sys.exit('oss2' in sys.modules)"
        (tmp_path / "config.yml").write_text("")
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
