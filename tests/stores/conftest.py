"""An S3 that checks signatures, and a WebDAV server that asks for a password."""

import json
from collections.abc import Iterator

import pytest

from tests.stores.servers import FOLDER, Server, started, webdav_server, write_key


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for said in started(FOLDER / "s3_server.py", "pictures"):
        address, key_id, secret = json.loads(said)
        keys = write_key(tmp_path_factory.mktemp("s3") / "key", access_key_id=key_id, secret_access_key=secret)
        yield Server("s3", "s3://pictures/photos?region=us-east-1&endpoint={}", address, keys)


@pytest.fixture(scope="session")
def webdav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("webdav")
    (folder / "files").mkdir()
    yield from webdav_server(folder / "files", folder / "key")


@pytest.fixture(params=["s3", "webdav"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    store = found.store()
    for each in [*store.entries(), *store.unfinished()]:
        store.discard(each)
    return found
