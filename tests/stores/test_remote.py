"""Whatever stands behind a store, the workers are promised the same."""

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import trio

from image_workers.errors import ConfigError, Refused, Unavailable
from image_workers.progress import Progress, Stopped
from image_workers.stores import Stat
from image_workers.stores.folder import FolderStore
from image_workers.stores.remote import RemoteStore
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import UrlConfig
from image_workers.sweep import Orphan, orphans
from tests.stores.gate import Gate
from tests.stores.servers import SCRATCH, Server, write_key


def put(store: RemoteStore, name: str, content: bytes = b"bytes") -> str:
    return store.put(name, io.BytesIO(content), "image/jpeg")


def names(store: RemoteStore) -> list[str]:
    return sorted(each.name for each in store.entries())


def test_what_was_put_is_there_with_its_version_until_it_is_removed(server: Server) -> None:
    store = server.store()
    assert store.stat("a/x.jpg") is None
    version = put(store, "a/x.jpg", b"content")
    assert store.stat("a/x.jpg") == Stat(7, version)
    assert store.read("a/x.jpg", 7) == (b"content", version)
    newer = put(store, "a/x.jpg", b"another one")
    assert newer != version
    assert store.read("a/x.jpg", 99) == (b"another one", newer)
    assert store.remove("a/x.jpg", version) is False
    assert store.remove("a/x.jpg", newer) is True
    assert store.remove("a/x.jpg") is False
    with pytest.raises(FileNotFoundError):
        store.read("a/x.jpg", 99)


def test_all_is_listed_and_nothing_is_left_without_a_name(server: Server) -> None:
    store = server.store()
    for name in ("x.jpg", "a/b/图 1.jpg", "a/x+y %.jpg"):
        put(store, name)
    assert [(each.name, each.size) for each in sorted(store.entries(), key=lambda each: each.name)] == [
        ("a/b/图 1.jpg", 5), ("a/x+y %.jpg", 5), ("x.jpg", 5),
    ]  # fmt: skip
    assert all(each.modified_s > 1_700_000_000 for each in store.entries())
    assert list(store.unfinished()) == []


def test_large_content_arrives_whole(server: Server) -> None:
    content = os.urandom(17_000_001)
    store = server.store()
    progress = Progress()
    version = store.put("x.jpg", io.BytesIO(content), "image/jpeg", progress)
    assert progress.bytes == len(content)
    assert store.read("x.jpg", len(content)) == (content, version)


def test_the_rest_of_the_content_is_put(server: Server) -> None:
    content = io.BytesIO(b"head and rest")
    content.seek(9)
    store = server.store()
    store.put("x", content, "image/jpeg")
    assert store.read("x", 9)[0] == b"rest"


def test_an_empty_file(server: Server) -> None:
    store = server.store()
    put(store, "x", b"")
    assert store.read("x", 0)[0] == b""


def test_what_is_read_is_limited_before_it_comes(server: Server) -> None:
    store = server.store()
    put(store, "x", b"12345678")
    with pytest.raises(Refused, match="larger than 7 bytes"):
        store.read("x", 7)
    small = RemoteStore(server.config(), "root", Scratch(None, 7), 20, 20)
    with pytest.raises(Refused, match=r"its 8 bytes are more than the 7 of the scratch folder"):
        small.read("x", 8)


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a\nb", "a\\b", "", ".incoming/x"])
def test_a_hostile_name_is_refused_by_every_method(server: Server, name: str) -> None:
    store = server.store()
    for use in (lambda: put(store, name), lambda: store.stat(name), lambda: store.read(name, 9),
                lambda: store.remove(name)):  # fmt: skip
        with pytest.raises(Refused):
            use()


class TestLateUploads:
    """The server, or a proxy before it, has all of a request and does it minutes later, when nobody waits any more."""

    @pytest.mark.parametrize("at", ["content", "name"])
    def test_the_first_upload_never_comes_back_over_the_compressed_one(self, server: Server, at: str) -> None:
        names_it = {"s3": "COPY", "webdav": "MOVE"}[server.service]
        with Gate(server.address) as gate:
            slow, quick = server.store(through=gate.url, timeout_s=1), server.store()
            gate.hold("PUT" if at == "content" else names_it, cut_off=True)
            with pytest.raises(OSError, match="timeout"):
                put(slow, "x.jpg", b"the big file")
            assert gate.is_held.is_set()
            put(quick, "x.jpg", b"the big file")
            put(quick, "x.jpg", b"compressed")
            gate.release()
            assert quick.read("x.jpg", 99)[0] == b"compressed"
            put(quick, "x.jpg", b"newer")
            assert quick.read("x.jpg", 99)[0] == b"newer"
            assert list(quick.unfinished()) == []

    def test_nor_does_it_come_back_after_the_picture_was_removed(self, server: Server) -> None:
        names_it = {"s3": "COPY", "webdav": "MOVE"}[server.service]
        with Gate(server.address) as gate:
            slow, quick = server.store(through=gate.url, timeout_s=1), server.store()
            gate.hold(names_it, cut_off=True)
            with pytest.raises(OSError, match="timeout"):
                put(slow, "x.jpg", b"the big file")
            quick.remove("x.jpg")
            gate.release()
            assert quick.stat("x.jpg") is None

    def test_an_upload_that_nobody_waits_for_any_more_gets_no_name(self, server: Server) -> None:
        store = server.store()
        progress = Progress()
        progress.stop("it stood still")
        with pytest.raises(Stopped):
            store.put("x.jpg", io.BytesIO(b""), "image/jpeg", progress)
        assert store.stat("x.jpg") is None
        assert list(store.unfinished()) == []


class TestAtTheStart:
    def test_a_wrong_key_is_refused_and_not_shown(self, s3: Server, tmp_path: Path) -> None:
        wrong = write_key(tmp_path / "key", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="a-wrong-secret")  # noqa: S106
        with pytest.raises(ConfigError, match=r"bucket: s3://pictures.* cannot be used: PermissionDenied") as error:
            RemoteStore(UrlConfig(s3.config().url, wrong, None, 1), "bucket", SCRATCH, 20)
        assert "a-wrong-secret" not in str(error.value)

    def test_a_secret_that_does_not_fit_is_refused(self, s3: Server, tmp_path: Path) -> None:
        keys = {**json.loads(s3.key_file.read_text()), "secret_access_key": "another"}
        wrong = write_key(tmp_path / "key", **keys)
        with pytest.raises(ConfigError, match="SignatureDoesNotMatch"):
            RemoteStore(UrlConfig(s3.config().url, wrong, None, 1), "bucket", SCRATCH, 20)

    def test_a_wrong_password_is_refused(self, webdav: Server, tmp_path: Path) -> None:
        wrong = write_key(tmp_path / "key", username="worker", password="another")  # noqa: S106
        with pytest.raises(ConfigError, match="401"):
            RemoteStore(UrlConfig(webdav.config().url, wrong, None, 1), "bucket", SCRATCH, 20)

    def test_a_bucket_that_is_missing_is_told(self, s3: Server) -> None:
        url = s3.config().url.replace("pictures", "others")
        with pytest.raises(ConfigError, match="NoSuchBucket"):
            RemoteStore(UrlConfig(url, s3.key_file, None, 1), "bucket", SCRATCH, 20)

    def test_a_server_that_is_not_there_may_come(self, server: Server) -> None:
        with pytest.raises(Unavailable, match="error sending request"):
            server.store(through="http://127.0.0.1:9")

    def test_an_option_that_is_not_known_is_told(self, s3: Server) -> None:
        url = s3.config().url.replace("region", "regoin")
        with pytest.raises(ConfigError, match="s3 has no option regoin; did you mean region"):
            RemoteStore(UrlConfig(url, s3.key_file, None, 1), "bucket", SCRATCH, 20)

    def test_a_service_that_opendal_does_not_have_is_told(self) -> None:
        with pytest.raises(ConfigError, match=r"bucket.url: Unsupported .*scheme is not registered"):
            RemoteStore(UrlConfig("nonsense://x", None, None, 1), "bucket", SCRATCH, 20)

    def test_a_store_that_nobody_has_tried_is_used_and_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = RemoteStore(UrlConfig(f"fs://{tmp_path}/files", None, None, 1), "bucket", SCRATCH, 20)
        assert "bucket: fs is untried" in caplog.text
        version = put(store, "a/x.jpg", b"content")
        assert store.read("a/x.jpg", 7) == (b"content", version)
        assert (tmp_path / "files" / "a" / "x.jpg").read_bytes() == b"content"
        assert list(store.unfinished()) == []


def test_a_key_is_exchanged_while_the_worker_runs(s3: Server, tmp_path: Path) -> None:
    keys = json.loads(s3.key_file.read_text())
    file = write_key(tmp_path / "key", **keys)
    store = RemoteStore(UrlConfig(s3.config().url, file, None, 1), "bucket", SCRATCH, 20)
    write_key(tmp_path / "key", access_key_id=keys["access_key_id"], secret_access_key="another")  # noqa: S106
    with pytest.raises(PermissionError, match="SignatureDoesNotMatch"):
        put(store, "x.jpg")
    write_key(tmp_path / "key", **keys)
    put(store, "x.jpg")


def aws(server: Server, service: str) -> Any:
    """The vendor's own client, with the key of the server."""
    keys = json.loads(server.key_file.read_text())
    return boto3.client(
        service, endpoint_url=server.address, region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
    )  # fmt: skip


def test_a_lent_key_goes_with_its_token(s3: Server, tmp_path: Path) -> None:
    iam = aws(s3, "iam")
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="lent", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    may_all = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="lent", PolicyName="all", PolicyDocument=json.dumps(may_all))
    lent = aws(s3, "sts").assume_role(RoleArn=role, RoleSessionName="worker")["Credentials"]
    keys = {"access_key_id": lent["AccessKeyId"], "secret_access_key": lent["SecretAccessKey"]}
    file = write_key(tmp_path / "key", **keys, session_token=lent["SessionToken"])
    store = RemoteStore(UrlConfig(s3.config().url, file, None, 1), "bucket", SCRATCH, 20)
    put(store, "x.jpg")
    write_key(tmp_path / "key", **keys, session_token="another")  # noqa: S106
    with pytest.raises(OSError, match="Token"):
        put(store, "x.jpg")


def test_objects_get_their_type_and_how_long_they_may_be_kept(s3: Server) -> None:
    put(s3.store(), "x.jpg")
    head = aws(s3, "s3").head_object(Bucket="pictures", Key="photos/x.jpg")
    assert (head["ContentType"], head["CacheControl"]) == ("image/jpeg", "max-age=60")


def test_a_folder_keeps_the_same_promises(tmp_path: Path) -> None:
    """What is asked of the others above, in short; tests/image_workers/test_folder_store.py has the rest."""
    store = FolderStore(tmp_path)
    version = store.put("a/x.jpg", io.BytesIO(b"content"), "image/jpeg")
    assert store.stat("a/x.jpg") == Stat(7, version)
    assert store.remove("a/x.jpg", "another") is False
    assert store.remove("a/x.jpg", version) is True


async def test_content_that_never_got_its_name_is_found_by_a_sweep(server: Server) -> None:
    store = server.store()
    in_two_days_s = time.time() + 2 * 24 * 3600

    def left_behind() -> None:
        with pytest.raises(FileNotFoundError):
            put(server.store(through=gate.url), "x.jpg")

    async def found() -> list[Orphan]:
        return [orphan async for orphan in orphans(store, None, None, in_two_days_s)]

    with Gate(server.address) as gate:
        gate.hold({"s3": "COPY", "webdav": "MOVE"}[server.service])
        thread = threading.Thread(target=left_behind)
        thread.start()
        await trio.to_thread.run_sync(gate.is_held.wait)
        (orphan,) = await found()
        assert (orphan.entry.size, await orphan.remove()) == (5, True)
        assert await found() == []
        await trio.to_thread.run_sync(gate.release)
        thread.join()
