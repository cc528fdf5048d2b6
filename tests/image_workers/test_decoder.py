"""Real pictures, some of them hostile, in real children: what a picture may take, and what if it takes more."""

import io
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pillow_heif
import pytest
import trio
from PIL import ExifTags, Image, ImageCms

from image_workers import decoder
from image_workers.decoder import Decoder, Limits
from image_workers.errors import Refused
from image_workers.making.forms import Form, Format, Recipe
from image_workers.pictures import Compressible, LeftAsIs
from tests.image_workers.hostile import WEBP_OF_64_MEGAPIXELS, gif_that_understates, progressive
from tests.image_workers.made import recipe, thumbnail
from tests.image_workers.processes import all_end, children, hang

pillow_heif.register_heif_opener()  # so that Pillow saves them
Picture = Callable[[str], bytes]
SECONDS = progressive(8000, 8000, 95)
"""Four, or two on a fast machine; of processor time."""
MAX_PIXELS = 64_000_000


class Watched:
    """A decoder, and the children that it has started."""

    def __init__(self, at_once: int, limits: Limits) -> None:
        self._others = children(os.getpid())
        self.decoder = Decoder(at_once, limits)

    def children(self) -> list[int]:
        return sorted(children(os.getpid()) - self._others)

    def child(self) -> int:
        """The one that there is."""
        (child,) = self.children()
        return child

    async def thumbnail(self, content: bytes, width: int = 64) -> bytes:
        (made,) = await self.decoder.thumbnails(content, recipe(width), MAX_PIXELS)
        return made

    async def hanging(self) -> int:
        """A child that will not answer its next request."""
        await self.thumbnail(progressive(8, 8, 1))
        (child,) = self.children()
        hang([child])
        return child

    async def works_again(self, picture: Picture) -> bool:
        return await self.thumbnail(picture("photo.webp")) == in_this_process(picture("photo.webp"))


def in_this_process(content: bytes, width: int = 64) -> bytes:
    return thumbnail(content, width=width, quality=80, max_pixels=MAX_PIXELS)


Watch = Callable[..., Watched]


@pytest.fixture
def watch() -> Iterator[Watch]:
    with ExitStack() as stack:

        def make(at_once: int = 1, **limits: int) -> Watched:
            watched = Watched(at_once, Limits(**limits))
            stack.enter_context(watched.decoder)
            return watched

        yield make


@pytest.mark.parametrize("name", ["gray.jpg", "photo.webp", "photo.avif", "alpha.png", "animated.gif", "cmyk.jpg"])
async def test_a_thumbnail_is_the_one_that_this_process_would_make(watch: Watch, picture: Picture, name: str) -> None:
    assert await watch().thumbnail(picture(name)) == in_this_process(picture(name))


async def test_other_calls_answer_as_in_this_process(watch: Watch, picture: Picture) -> None:
    child = watch().decoder
    jpeg = in_this_process(picture("photo.webp"))
    assert await child.compressible(jpeg, MAX_PIXELS) == Compressible(jpeg, 64, 36)
    assert (await child.compressible_original(jpeg, MAX_PIXELS)).width == 64
    with pytest.raises(LeftAsIs, match="64 x 36 pixels are more than the 100 to be compressed"):
        await child.compressible(jpeg, 100)
    with pytest.raises(Refused) as refused:
        in_this_process(picture("truncated.jpg"))
    with pytest.raises(Refused, match=re.escape(str(refused.value))):
        await watch().thumbnail(picture("truncated.jpg"))
    await child.check_jpeg(jpeg, 64, 36)
    with pytest.raises(Refused, match="64 x 36 pixels"):
        await child.check_jpeg(jpeg, 64, 35)


async def test_a_child_is_kept_for_the_next_picture_and_there_are_no_more_than_decode_at_once(
    watch: Watch, picture: Picture
) -> None:
    watched = watch(2)
    await watched.thumbnail(picture("photo.webp"))
    child = watched.child()
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(watched.thumbnail, picture("photo.webp"))
    assert len(watched.children()) == 2
    assert child in watched.children()
    watched.decoder.close()
    assert watched.children() == []


class TestTime:
    async def test_a_picture_of_much_work_is_given_up_and_the_next_is_decoded(
        self, watch: Watch, picture: Picture
    ) -> None:
        watched = watch(cpu_seconds=1)
        with pytest.raises(Refused, match=r"^decoding took more than 1 s of CPU time$"):
            await watched.thumbnail(SECONDS)
        assert await watched.works_again(picture)

    async def test_so_is_one_whose_thumbnails_take_too_long(self, watch: Watch, picture: Picture) -> None:
        watched = watch(cpu_seconds=1)
        output = io.BytesIO()
        Image.effect_noise((2000, 2000), 90).save(output, "PNG", compress_level=0)
        wanted = Recipe((Form(2000, format="avif", quality=95),))
        with pytest.raises(Refused, match=r"^decoding took more than 1 s of CPU time$"):
            await watched.decoder.thumbnails(output.getvalue(), wanted, MAX_PIXELS)
        assert await watched.works_again(picture)

    async def test_the_processor_time_of_earlier_pictures_does_not_count(self, watch: Watch) -> None:
        watched = watch(cpu_seconds=1)
        half_a_second = progressive(8000, 8000, 9)
        await watched.thumbnail(half_a_second)
        child = watched.child()
        for _ in range(4):
            await watched.thumbnail(half_a_second)
        assert watched.child() == child

    async def test_a_child_that_takes_too_long_by_the_clock_is_killed(self, watch: Watch, picture: Picture) -> None:
        watched = watch(seconds=2)
        child = await watched.hanging()
        with pytest.raises(Refused, match=r"^decoding took more than 2 s$"):
            await watched.thumbnail(picture("photo.webp"))
        assert watched.children() == []
        all_end([child])
        assert await watched.works_again(picture)

    async def test_waiting_for_its_turn_takes_none_of_a_picture_s_time(self, watch: Watch, picture: Picture) -> None:
        watched = watch(seconds=2)
        await watched.hanging()
        async with trio.open_nursery() as nursery:

            async def is_given_up() -> None:
                with pytest.raises(Refused, match="more than 2 s"):
                    await watched.thumbnail(picture("photo.webp"))

            nursery.start_soon(is_given_up)
            await trio.testing.wait_all_tasks_blocked()
            assert await watched.works_again(picture)

    async def test_who_does_not_wait_any_more_ends_the_child(self, watch: Watch, picture: Picture) -> None:
        watched = watch()
        await watched.hanging()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.thumbnail, picture("photo.webp"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert watched.children() == []
        assert await watched.works_again(picture)


class TestMemory:
    async def test_all_that_decode_at_once_share_one_budget(self, watch: Watch) -> None:
        watched = watch(4, memory_bytes=1_500_000_000)
        async with trio.open_nursery() as nursery:
            for width in (500, 64):
                nursery.start_soon(watched.thumbnail, WEBP_OF_64_MEGAPIXELS, width)
        # Each takes more than half of it, so they had to take turns, for which one child is enough.
        assert len(watched.children()) == 1

    async def test_what_never_fits_is_refused_and_starts_nothing(self, watch: Watch, picture: Picture) -> None:
        watched = watch(memory_bytes=500_000_000)
        with pytest.raises(Refused, match=r"may take 13\d\d MB of memory, .* has 500 \(decoding.memory-megabytes\)"):
            await watched.thumbnail(WEBP_OF_64_MEGAPIXELS)
        assert watched.children() == []
        assert await watched.works_again(picture)

    async def test_nor_does_a_small_picture_whose_thumbnail_is_too_large(self, watch: Watch, picture: Picture) -> None:
        watched = watch(memory_bytes=500_000_000)
        wanted = Recipe((Form(16_000, 16_000, "fill", "webp"),))
        with pytest.raises(Refused, match=r"may take \d+ MB of memory, .* has 500 \(decoding.memory-megabytes\)"):
            await watched.decoder.thumbnails(picture("one-pixel.png"), wanted, MAX_PIXELS)
        assert watched.children() == []

    async def test_a_picture_that_declares_too_many_pixels_starts_nothing(self, watch: Watch, picture: Picture) -> None:
        watched = watch()
        with pytest.raises(Refused, match="30000 x 30000 pixels are more than the 64000000 allowed"):
            await watched.thumbnail(picture("bomb-900mp.png"))
        assert watched.children() == []

    async def test_a_picture_that_needs_more_than_it_declares_is_given_up(self, watch: Watch, picture: Picture) -> None:
        watched = watch()
        with pytest.raises(Refused, match=r"^decoding it took more than \d+ MB of memory$"):
            await watched.thumbnail(gif_that_understates(8000, 8000))
        assert await watched.works_again(picture)

    async def test_a_webp_that_is_damaged_is_said_to_be(self, watch: Watch, picture: Picture) -> None:
        content = bytearray(picture("photo.webp"))
        content[content.index(b"\x9d\x01\x2a")] ^= 1  # RFC 6386, 9.1
        with pytest.raises(Refused, match=r"^the picture is damaged, or decoding it took more than \d+ MB of memory$"):
            await watch().thumbnail(bytes(content))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
    async def test_a_machine_that_is_short_of_memory_is_no_damage(self, watch: Watch, kind: str) -> None:
        output = io.BytesIO()
        Image.effect_noise((1000, 1000), 50).convert("RGB").save(output, kind)
        watched = watch()
        await watched.thumbnail(output.getvalue())
        child = watched.child()
        resource.prlimit(child, resource.RLIMIT_AS, (address_space(child) + 20 * 2**20,) * 2)
        with pytest.raises(MemoryError, match=r"may take \d+ MB of memory: Cannot allocate memory"):
            await watched.thumbnail(output.getvalue(), 1024)
        assert watched.child() == child

    async def test_nor_is_one_that_becomes_short_of_it_meanwhile(self, watch: Watch) -> None:
        watched = watch()
        async with trio.open_nursery() as nursery:

            async def decode() -> None:
                with pytest.raises(MemoryError, match="Cannot allocate memory"):
                    await watched.thumbnail(progressive(8000, 8000, 30), 8000)

            await watched.thumbnail(progressive(8, 8, 1))
            child = watched.child()
            begun_s = cpu_s(child)
            nursery.start_soon(decode)
            while cpu_s(child) < begun_s + 0.2:  # noqa: ASYNC110 - nobody tells that it has begun
                await trio.sleep(0.01)
            resource.prlimit(child, resource.RLIMIT_AS, (address_space(child) + 2**20,) * 2)

    @pytest.mark.parametrize(
        ("kind", "mode", "options"),
        [
            ("JPEG", "RGB", {}),
            ("JPEG", "CMYK", {}),
            ("JPEG", "L", {}),
            ("JPEG", "RGB", {"progressive": True, "subsampling": "4:4:4"}),
            ("JPEG", "CMYK", {"progressive": True}),
            ("PNG", "RGB", {}),
            ("PNG", "RGBA", {}),
            ("PNG", "I;16", {}),
            ("PNG", "P", {"transparency": 0}),
            ("GIF", "P", {"transparency": 0}),
            ("WEBP", "RGB", {"method": 0}),
            ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
            ("AVIF", "RGBA", {"speed": 10}),
            ("HEIF", "RGB", {}),
            ("HEIF", "RGBA", {}),
        ],
    )
    async def test_each_kind_of_picture_needs_no_more_than_it_may_take(
        self, watch: Watch, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, options: dict[str, object]
    ) -> None:
        monkeypatch.setattr(decoder, "_BASE_BYTES", 24 * 10**6)  # else it hides what large pictures lack
        gray = Image.linear_gradient("L").resize((3000, 3000))
        image = gray.convert("I").convert("I;16") if mode == "I;16" else gray.convert("RGB").convert(mode)
        if mode == "RGBA":
            image.putalpha(gray)
        tags = Image.Exif()
        tags[ExifTags.Base.Orientation] = 6
        output = io.BytesIO()
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if mode == "RGB" else None
        image.save(output, kind, exif=tags, icc_profile=profile, **options)
        for width in (64, 3000):
            assert await watch().thumbnail(output.getvalue(), width)

    @pytest.mark.parametrize(
        ("kind", "made", "linear"),
        [
            ("PNG", "jpeg", False),
            ("PNG", "webp", False),
            ("PNG", "avif", False),
            ("PNG", "png", False),
            ("PNG", "webp", True),
            ("JPEG", "jpeg", True),
        ],
    )
    async def test_nor_does_each_kind_of_thumbnail(
        self, watch: Watch, monkeypatch: pytest.MonkeyPatch, kind: str, made: Format, linear: bool
    ) -> None:
        monkeypatch.setattr(decoder, "_BASE_BYTES", 24 * 10**6)
        image = Image.effect_noise((1200, 1200), 20).convert("RGB")
        if kind == "PNG":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        tags = Image.Exif()
        tags[ExifTags.Base.Orientation] = 6
        output = io.BytesIO()
        image.save(output, kind, exif=tags, compress_level=1)
        forms = (Form(1200, format=made, quality=90), Form(1200, 800, "crop"), Form(1300, 1300, "fill"), Form(100))
        wanted = Recipe(forms, encoder="jpegli", linear=linear)
        assert len(await watch().decoder.thumbnails(output.getvalue(), wanted, MAX_PIXELS)) == 4

    @pytest.mark.parametrize("made", ["jpeg", "webp", "avif", "png"])
    async def test_nor_does_a_thumbnail_that_is_larger_than_its_picture(
        self, watch: Watch, monkeypatch: pytest.MonkeyPatch, made: Format
    ) -> None:
        monkeypatch.setattr(decoder, "_BASE_BYTES", 24 * 10**6)
        image = Image.effect_noise((600, 600), 50).convert("RGB")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        output = io.BytesIO()
        image.save(output, "PNG", compress_level=1)
        wanted = Recipe((Form(2600, 2600, "fill", made, quality=90),), encoder="jpegli")
        assert len(await watch().decoder.thumbnails(output.getvalue(), wanted, MAX_PIXELS)) == 1

    async def test_who_comes_first_goes_first_however_large(self, watch: Watch, picture: Picture) -> None:
        watched = watch(3, memory_bytes=1_400_000_000)
        order = []

        async def decode(name: str, content: bytes) -> None:
            await watched.thumbnail(content)
            order.append(name)

        async with trio.open_nursery() as nursery:
            for name, content in [
                ("a second", progressive(8000, 8000, 25)),
                ("large", WEBP_OF_64_MEGAPIXELS),
                ("small", picture("photo.webp")),
            ]:
                nursery.start_soon(decode, name, content)
                await trio.testing.wait_all_tasks_blocked()
        assert order == ["a second", "large", "small"]


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def cpu_s(pid: int) -> float:
    after_its_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_its_name[11]) + int(after_its_name[12])) / os.sysconf("SC_CLK_TCK")


class TestEnds:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
    async def test_a_child_that_dies_costs_one_try(self, watch: Watch, picture: Picture, number: int) -> None:
        watched = watch()
        child = await watched.hanging()
        async with trio.open_nursery() as nursery:

            async def decode() -> None:
                with pytest.raises(OSError, match=f"killed by {signal.Signals(number).name}"):
                    await watched.thumbnail(picture("photo.webp"))

            nursery.start_soon(decode)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(child, number)
            os.kill(child, signal.SIGCONT)
        assert await watched.works_again(picture)

    async def test_a_child_that_died_while_it_was_idle_costs_nothing(self, watch: Watch, picture: Picture) -> None:
        watched = watch()
        assert await watched.works_again(picture)
        child = watched.child()
        os.kill(child, signal.SIGKILL)
        all_end([child])
        assert await watched.works_again(picture)
        assert watched.child() != child

    async def test_a_signal_that_is_meant_for_the_worker_does_not_end_its_children(
        self, watch: Watch, picture: Picture
    ) -> None:
        watched = watch()
        child = await watched.hanging()
        async with trio.open_nursery() as nursery:

            async def decode() -> None:
                assert await watched.works_again(picture)

            nursery.start_soon(decode)
            await trio.testing.wait_all_tasks_blocked()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
                os.kill(child, number)

    def test_a_killed_worker_leaves_no_child_behind(self, tmp_path: Path) -> None:
        (tmp_path / "x.jpg").write_bytes(progressive(8, 8, 1))
        self.end_with_their_worker(2, "decoder", tmp_path / "x.jpg")

    def test_nor_a_guetzli(self, tmp_path: Path) -> None:
        guetzli = tmp_path / "guetzli"
        guetzli.write_text("#!/bin/sh\n(echo at work >/proc/$PPID/fd/1); kill -STOP $$\n")
        guetzli.chmod(0o755)
        self.end_with_their_worker(1, "guetzli", guetzli)

    @staticmethod
    def end_with_their_worker(count: int, what: str, path: Path) -> None:
        command = [sys.executable, "-m", "tests.image_workers.endless", what, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"at work\n"
            left = children(worker.pid)
            assert len(left) == count
            worker.kill()
            all_end(left)

    def test_a_child_loads_no_more_than_it_needs(self) -> None:
        text = "import sys, image_workers.children.decoding; print({'trio', 'yaml', 'click', 'ssl'} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout == b"set()\n"

    def test_a_child_whose_worker_has_ended_before_it_could_say_so_does_not_begin(self) -> None:
        command = [sys.executable, "-m", "image_workers.children.decoding", "1"]
        ended = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, check=False)
        assert (ended.returncode, ended.stderr) == (1, b"the process 1, for which this was to work, has ended\n")
