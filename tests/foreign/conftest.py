"""The foreign programs, each a process of its own, and the real daemon that they speak to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.daemon import Daemon

FOLDER = Path(__file__).parent
GO_PACKAGES = "golang-go golang-github-ugorji-go-codec-dev"
PROGRAM_S = 60

Program = Callable[[str], Any]
"""Runs the scenario of this name against the daemon; returns what the program saw."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go client, built from Debian's packages alone: no modules, no network, no C compiler."""
    if shutil.which("go") is None:
        pytest.fail(f"there is no go: apt-get install {GO_PACKAGES}", pytrace=False)
    folder = tmp_path_factory.mktemp("go")
    settings = {
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(folder / "cache"),
        "GOENV": "off",
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    command = ["go", "build", "-o", str(folder / "client"), str(FOLDER / "go" / "main.go")]
    build = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    if build.returncode:
        pytest.fail(f"go build failed; apt-get install {GO_PACKAGES}, if not done yet\n{build.stderr}", pytrace=False)
    return folder / "client"


def run(daemon: Daemon, *command: str | Path) -> Program:
    def program(scenario: str) -> Any:
        address = daemon.url.removeprefix("tcp://")
        done = subprocess.run(
            [*command, address, scenario], capture_output=True, text=True, timeout=PROGRAM_S, check=False
        )
        assert done.returncode == 0, done.stderr + daemon.said
        return json.loads(done.stdout)

    return program


@pytest.fixture
def nvim(daemon: Daemon) -> Program:
    return run(daemon, sys.executable, FOLDER / "nvim_client.py")


@pytest.fixture
def go(daemon: Daemon, go_program: Path) -> Program:
    return run(daemon, go_program)


@pytest.fixture(params=["nvim", "go"])
def client(request: pytest.FixtureRequest) -> Program:
    program: Program = request.getfixturevalue(request.param)
    return program
