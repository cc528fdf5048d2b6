"""The line that `periodic completion` prints, given to a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from periodic_client.cli_completion import LINES

BIN = str(Path(sys.executable).parent)
ENV = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}


def completion(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "periodic_client", "completion", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENV | env)


def test_bash_completes_commands_and_options() -> None:
    line = completion("bash").stdout
    script = f"""{line}
        complete -p periodic
        ask() {{ COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _periodic_completion periodic; }}
        ask periodic sub; echo "${{COMPREPLY[@]}}"
        ask periodic submit --retry-l; echo "${{COMPREPLY[@]}}"
    """
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENV)
    registered, commands, options = ended.stdout.splitlines()
    assert "_periodic_completion" in registered
    assert commands.split() == ["submit", "submit-group"]
    assert options.split() == ["--retry-limit"]


@pytest.mark.parametrize("shell", LINES)
def test_the_shell_is_the_one_that_is_used(shell: str) -> None:
    assert completion(SHELL=f"/usr/bin/{shell}").stdout == completion(shell).stdout == f"{LINES[shell]}\n"
    if found := shutil.which(shell):
        assert (
            subprocess.run([found, "-c", LINES[shell]], env=ENV, capture_output=True).returncode == 0 or shell == "zsh"
        )


def test_another_shell_is_told_which_there_are() -> None:
    ended = completion(SHELL="/bin/ksh")
    assert (ended.returncode, "name one of bash, zsh, fish" in ended.stderr) == (2, True)
