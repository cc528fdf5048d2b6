"""A real browser without a window: Debian's headless Chromium, spoken to over its own pipe, without a driver between.

What it is told is the DevTools protocol: JSON, a zero byte behind each message, on the descriptors 3 and 4.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

PROGRAM = "chromium-headless-shell"
_LIMIT_S = 30.0


class Tab:
    """A page in the browser, of which one is spoken to at a time."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = trio.lowlevel.FdStream(commands)
        self._answers = trio.lowlevel.FdStream(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._commands.send_all(json.dumps(message).encode() + b"\0")
        with trio.fail_after(_LIMIT_S):
            while True:
                answer = await self._message()
                if answer.get("id") == self._number:
                    assert "error" not in answer, (method, answer)
                    result: dict[str, Any] = answer["result"]
                    return result
                self.events.append(answer)

    async def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            self._buffer += await self._answers.receive_some()
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    async def open(self, url: str, width: int, height: int) -> None:
        target = await self.ask("Target.createTarget", url="about:blank")
        attached = await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            await self.ask(f"{domain}.enable")
        await self.size(width, height)
        await self.ask("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'")

    async def size(self, width: int, height: int) -> None:
        is_phone = width < 600
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )

    async def value(self, expression: str) -> Any:
        told = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, (expression, told)
        return told["result"].get("value")

    async def wait(self, expression: str) -> Any:
        """Until it is true; no event of the browser tells of it."""
        with trio.move_on_after(_LIMIT_S):
            while not (found := await self.value(expression)):  # noqa: ASYNC110 - another process's
                await trio.sleep(0.05)
            return found
        raise AssertionError(f"never: {expression}; the page says {await self.value('document.body.innerText')}")

    async def choose(self, selector: str, *files: Path) -> None:
        """As in the dialog of an input for files."""
        document = await self.ask("DOM.getDocument")
        node = await self.ask("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.ask("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(each) for each in files])

    async def drop(self, *files: Path) -> None:
        """Drag the files from outside onto the middle of the page's upper part, and let go."""
        data = {"items": [], "files": [str(each) for each in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.ask("Input.dispatchDragEvent", type=kind, x=200, y=150, data=data)

    async def screenshot(self, path: Path) -> None:
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240 - a test waits

    def complaints(self) -> list[str]:
        """What the browser's console says is wrong: scripts that fail, and what the page's policy forbids."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return found


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.fail(f"there is no browser: apt-get install {PROGRAM}", pytrace=False)
    their_commands, our_commands = os.pipe()
    our_answers, their_answers = os.pipe()
    # Its pipes are 3 and 4, which a shell can say; --no-sandbox: CI is root in a container.
    line = (
        f'exec "{program}" --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage '
        f'--hide-scrollbars --user-data-dir="{folder}/browser" 3<&{their_commands} 4>&{their_answers}'
    )
    with subprocess.Popen(
        ["bash", "-c", line], pass_fds=(their_commands, their_answers), stderr=subprocess.DEVNULL
    ) as process:
        os.close(their_commands)
        os.close(their_answers)
        try:
            yield Tab(our_commands, our_answers)
        finally:
            process.kill()
