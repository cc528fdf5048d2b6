"""The real guetzli on small pictures; programs of our own only to provoke what it does not do on request."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from PIL import Image

from image_workers.errors import Refused
from image_workers.guetzli import Guetzli
from image_workers.pictures import Compressible, check_jpeg, compressible
from tests.image_workers.made import thumbnail
from tests.image_workers.processes import all_end

Picture = Callable[[str], bytes]


def small(picture: Picture, name: str, quality: int = 98) -> bytes:
    return thumbnail(picture(name), width=96, quality=quality, max_pixels=64_000_000)


def prepared(content: bytes) -> Compressible:
    return compressible(content, 2_000_000)


async def check(content: bytes, width: int, height: int) -> None:
    """In this process; what a decoding child adds is not guetzli's business."""
    check_jpeg(content, width, height)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program of a Python text; `source` and `result` are the paths that it was given."""

    def make(text: str) -> str:
        path = tmp_path / "program"
        path.write_text(f"#!{sys.executable} -S\nimport os, sys\nsource, result = sys.argv[-2:]\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


async def test_a_thumbnail_becomes_a_smaller_jpeg_of_the_same_picture(picture: Picture, guetzli_program: str) -> None:
    content = small(picture, "progressive-444.jpg")
    result = await Guetzli(guetzli_program).compress(prepared(content), check)
    assert len(result) < 0.7 * len(content)
    image = Image.open(io.BytesIO(result))
    assert (image.format, image.size) == ("JPEG", (96, 54))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
async def test_what_guetzli_does_not_read_is_made_readable(picture: Picture, guetzli_program: str, mode: str) -> None:
    output = io.BytesIO()
    Image.open(io.BytesIO(small(picture, "photo.webp"))).convert(mode).save(output, "JPEG", quality=98)
    direct = Compressible(output.getvalue(), 96, 54)
    guetzli = Guetzli(guetzli_program)
    with pytest.raises(Refused, match="exit status 1"):
        await guetzli.compress(direct, check)
    assert await guetzli.compress(prepared(output.getvalue()), check)


async def test_a_truncated_jpeg_is_refused_with_guetzli_s_reason(picture: Picture, guetzli_program: str) -> None:
    half = small(picture, "progressive-444.jpg")[:3000]
    with pytest.raises(Refused, match=r"guetzli failed, exit status 1: .*scan"):
        await Guetzli(guetzli_program).compress(Compressible(half, 96, 54), check)


async def test_more_memory_than_guetzli_may_take_is_refused(picture: Picture, guetzli_program: str) -> None:
    picture_960 = prepared(picture("progressive-444.jpg"))
    with pytest.raises(Refused, match=r"(?i)memory"):
        await Guetzli(guetzli_program, memlimit_mb=100).compress(picture_960, check)


async def test_the_memory_limit_is_the_kernel_s_and_grows_with_the_picture(program: Callable[[str], str]) -> None:
    # The limit is 64 MiB and 512 bytes a pixel: 576 MiB for one megapixel.
    text = "memory = bytearray(400 * 2**20); open(result, 'wb').write(b'no JPEG')"
    guetzli = Guetzli(program(text))
    with pytest.raises(Refused, match="MemoryError"):
        await guetzli.compress(Compressible(b"", 100, 100), check)
    with pytest.raises(Refused, match="result is not the picture"):
        await guetzli.compress(Compressible(b"", 1024, 1024), check)
    with pytest.raises(Refused, match="MemoryError"):
        await Guetzli(program(text), memlimit_mb=200).compress(Compressible(b"", 1024, 1024), check)


def forking(pids: Path) -> str:
    """A program that never ends, and neither does its child; it writes their process ids."""
    return (
        f"child = os.fork()\nif child: open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\nwhile True: pass"
    )


async def test_the_time_limit_ends_the_process_and_its_children(program: Callable[[str], str], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(Refused, match="did not end within 1 s"):
        await Guetzli(program(forking(pids)), time_limit_s=1).compress(Compressible(b"", 1, 1), check)
    all_end(map(int, pids.read_text().split()))


async def test_cancelling_ends_the_process_and_its_children(program: Callable[[str], str], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Guetzli(program(forking(pids))).compress, Compressible(b"", 1, 1), check)
        running = await trio.to_thread.run_sync(pids.read_text)
        nursery.cancel_scope.cancel()
    all_end(map(int, running.split()))


async def test_a_run_killed_from_outside_may_be_tried_again(program: Callable[[str], str]) -> None:
    with pytest.raises(OSError, match="killed"):
        await Guetzli(program("os.kill(os.getpid(), 9)")).compress(Compressible(b"", 1, 1), check)


async def test_a_crash_of_guetzli_is_refused(program: Callable[[str], str]) -> None:
    with pytest.raises(Refused, match="killed by SIGABRT: so it ends"):
        await Guetzli(program("sys.stderr.write('so it\\nends'); sys.stderr.flush(); os.abort()")).compress(
            Compressible(b"", 1, 1), check
        )


async def test_an_endless_message_is_cut_to_its_end(program: Callable[[str], str]) -> None:
    with pytest.raises(Refused, match="the last word") as refused:
        await Guetzli(program("sys.exit('x' * 10**6 + ' the last word')")).compress(Compressible(b"", 1, 1), check)
    assert len(str(refused.value)) < 600


async def test_an_endless_result_is_stopped_by_the_kernel(program: Callable[[str], str]) -> None:
    text = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    text += "file = open(result, 'wb')\nwhile True: file.write(bytes(2**20))"
    with pytest.raises(Refused, match="SIGXFSZ"):
        await Guetzli(program(text)).compress(Compressible(b"", 1, 1), check)


@pytest.mark.parametrize("size", [(95, 54), (96, 55)])
async def test_a_result_of_another_size_is_refused(
    picture: Picture, program: Callable[[str], str], size: tuple[int, int]
) -> None:
    copies = program("open(result, 'wb').write(open(source, 'rb').read())")
    content = small(picture, "progressive-444.jpg")
    assert await Guetzli(copies).compress(Compressible(content, 96, 54), check) == content
    with pytest.raises(Refused, match="96 x 54 pixels"):
        await Guetzli(copies).compress(Compressible(content, *size), check)


def test_guetzli_still_refuses_the_quality_that_the_configuration_refuses(guetzli_program: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    run = subprocess.run([guetzli_program, "--quality", "83", tmp_path / "x.png", tmp_path / "y"], check=False)
    assert run.returncode == 1
