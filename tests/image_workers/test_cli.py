"""The command itself, as a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from periodic_client import Client
from rig.daemon import Daemon

COMMAND = [sys.executable, "-m", "image_workers"]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_bad_configuration_exits_2_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("enable-guetzly: true")
    ended = run(tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == (
        "image-workers: config.yml: enable-guetzly: is not a known key; did you mean enable-guetzli?\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yml"], "nothing was made"


def test_a_missing_configuration_exits_2(tmp_path: Path) -> None:
    ended = run(tmp_path, "other.yml")
    assert (ended.returncode, ended.stderr) == (
        2,
        "image-workers: other.yml: cannot be read: No such file or directory\n",
    )


def test_a_missing_guetzli_exits_2(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("enable-guetzli: true")
    ended = run(tmp_path, PATH=str(tmp_path))
    assert ended.returncode == 2
    assert "encoder: the program guetzli was not found; install it" in ended.stderr


def test_a_missing_jpegli_exits_2_and_says_what_to_install(tmp_path: Path) -> None:
    """As on a machine for which its package has no wheel."""
    (tmp_path / "config.yml").write_text("resizes: [{width: 64}]")
    without = "import sys; sys.modules['pyjpegli'] = None; from image_workers.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", without, "config.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "image-workers: encoder: jpegli needs pyjpegli, which cannot be found; pip install 'periodicd[images]', "
        "or set encoder: pillow\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yml"], "nothing was made"


def test_serve_without_its_packages_exits_2_and_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("")
    without = "import sys; sys.modules['starlette'] = None; from image_workers.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", without, "serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "serve needs starlette" in ended.stderr
    assert "pip install 'periodicd[serve]'" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yml"], "nothing was made"


def test_a_bad_url_in_the_environment_exits_2(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("")
    ended = run(tmp_path, PERIODIC_URL="http://localhost")
    assert ended.returncode == 2
    assert "image-workers: PERIODIC_URL: 'http://localhost' is neither tcp://" in ended.stderr


def test_a_root_that_is_a_file_exits_2(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("root: images")
    (tmp_path / "images").write_bytes(b"")
    ended = run(tmp_path)
    assert ended.returncode == 2
    assert "images cannot be used: File exists" in ended.stderr


def test_a_missing_package_exits_2_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ModuleNotFoundError(\"No module named 'yaml'\", name='yaml')")
    ended = run(tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2,
        "image-workers: yaml is not installed; pip install 'periodicd[images]'\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(tmp_path: Path, number: int) -> None:
    # No daemon is there: the worker goes on trying to connect, and must end all the same.
    (tmp_path / "config.yml").write_text(f"periodic: unix://{tmp_path}/none.sock\nguetzli: {{lock-name: g}}")
    with subprocess.Popen(COMMAND, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "connecting again" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(30) == 0
    assert f"stopping on {signal.Signals(number).name}" in rest
    assert "Traceback" not in rest


def test_thumbnails_that_guetzli_cannot_make_smaller_are_told_at_the_start(
    tmp_path: Path, guetzli_program: str
) -> None:
    """As with the original's file, which made thumbnails of quality 80 and ran guetzli at 95."""
    (tmp_path / "config.yml").write_text(
        f"periodic: unix://{tmp_path}/none.sock\nenable-guetzli: true\n"
        "resizes: [{func: a, suffix: _a.jpg}, {func: b, suffix: _b.jpg, quality: 95}]"
    )
    with subprocess.Popen(COMMAND, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "guetzli at quality 95 needs more bytes than thumbnails" in said
        assert "gives to _a.jpg, so these stay as they are" in said
        process.kill()


def test_what_guetzli_compresses_at_once_is_told_and_set(tmp_path: Path, guetzli_program: str) -> None:
    with Daemon(tmp_path) as daemon:
        (tmp_path / "config.yml").write_text(
            f"periodic: {daemon.url}\nenable-guetzli: true\n"
            "guetzli: {lock-name: g, lock-count: 3, megapixels-at-once: 7}"
        )
        with subprocess.Popen(COMMAND, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "all workers of the daemon together compress 7 megapixels, and 3 pictures at once" in line
            trio.run(capacities_are, daemon.url, {"g": 3, "guetzli-megapixels": 7})
            process.kill()


async def capacities_are(url: str, expected: dict[str, int]) -> None:
    with trio.fail_after(30):
        async with Client(url) as client:
            while {each["lock"]: each["capacity"] async for each in client.locks()} != expected:  # noqa: ASYNC110
                await trio.sleep(0.05)


def test_a_bucket_that_is_not_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(
        f"periodic: unix://{tmp_path}/none.sock\nenable-upload: elsewhere\nbucket: {{directory: published}}"
    )
    with subprocess.Popen(COMMAND, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "bucket is not used" in process.stderr.readline()
        process.kill()
    assert not (tmp_path / "published").exists()
