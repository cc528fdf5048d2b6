"""Room for what comes from a store that is no folder: bounded, waited for, given back."""

import threading
from pathlib import Path

import pytest

from image_workers.errors import Refused
from image_workers.progress import UNWATCHED, Progress, Stopped
from image_workers.stores.scratch import Scratch


def test_all_files_together_have_no_more_than_was_agreed(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "made", 10)
    order = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with scratch.file(6, UNWATCHED):
            order.append("second")

    thread = threading.Thread(target=second)
    with scratch.file(5, UNWATCHED) as file, scratch.file(5, UNWATCHED):
        file.write(b"12345")
        thread.start()
        begun.wait()
        order.append("first")
        assert list((tmp_path / "made").iterdir()) == [], "a file has no name, so nothing is left of a killed worker"
    thread.join()
    assert order == ["first", "second"]


def test_what_never_fits_is_refused(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, 10)
    with (
        pytest.raises(Refused, match=r"its 11 bytes are more than the 10 of the scratch folder"),
        scratch.file(11, UNWATCHED),
    ):
        pytest.fail("there is no such room")


def test_one_who_waits_gives_up_with_its_run(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, 10)
    progress = Progress()
    progress.stop("the run is over")
    with scratch.file(10, UNWATCHED), pytest.raises(Stopped), scratch.file(1, progress):
        pytest.fail("there is no room")
    with scratch.file(10, UNWATCHED):
        """All of it was given back."""
