"""A deleted picture is gone: its jobs, its files, its objects, and nothing of it comes again."""

from pathlib import Path

import pytest

from image_workers.config import Config, parse
from image_workers.deletion import Deletion
from image_workers.errors import Refused
from image_workers.stores.folder import FolderStore

TEXT = """
enable-save: true
enable-delete: true
resizes:
  - {func: resize-96, width: 96, suffix: _fw96.jpg}
  - {func: resize-64, width: 64, output: small, suffix: _fw64.jpg}
"""
FILES = (
    "a/x.png", "guetzli/a/x.png", "resize-image/a/x.png~_fw96.jpg", "guetzli/a/x.png~_fw96.jpg",
    "small/a/x.png~_fw64.jpg", "guetzli/a/x.png~_fw64.jpg",
)  # fmt: skip
OTHERS = ("a/x.jpg", "resize-image/a/x_fw96.jpg", "x.png", "small/x.png~_fw64.jpg")


@pytest.fixture
def config() -> Config:
    return parse(TEXT)


class Jobs:
    """The jobs that there are. Those in `endings` end just before they are looked at, and submit another one."""

    def __init__(self, *jobs: tuple[str, str]) -> None:
        self.jobs = set(jobs)
        self.endings: dict[tuple[str, str], tuple[str, str]] = {}
        self.asked: list[tuple[str, str]] = []

    async def cancel(self, func: str, name: str) -> str:
        self.asked.append((func, name))
        if (func, name) not in self.jobs:
            return "absent"
        self.jobs.remove((func, name))
        if follows := self.endings.pop((func, name), None):
            self.jobs.add(follows)
            return "absent"
        return "removed"


async def test_jobs_files_and_objects_of_the_picture_go_and_no_others(config: Config, tmp_path: Path) -> None:
    root = FolderStore(tmp_path)
    for file in (*FILES, *OTHERS):
        root.write(file, b"x")
    its = [
        *((func, "a/x.png") for func in ("finished", "save", "resize-96", "resize-64")), ("compress", FILES[4]),
        *((func, file) for func in ("upload", "upload-next-remove", "remove") for file in FILES),
        *((func, file) for func in ("upload-next-compress", "unpublish") for file in FILES[::2]),
    ]  # fmt: skip
    others = {(func, file) for func in ("upload", "remove", "upload-next-compress", "resize-64") for file in OTHERS}
    jobs = Jobs(*its, *others)
    step = await Deletion(config, root, jobs.cancel).delete("a/x.png", b"")
    assert jobs.jobs == others
    assert jobs.asked[0] == ("finished", "a/x.png"), "else the end of the others would have somebody told"
    assert sorted(each.name for each in root.entries()) == sorted(OTHERS)
    assert [(each.func, each.name, each.headers) for each in step.submit] == [
        ("unpublish", "a/x.png", {"key": "a/x.png"}),
        ("unpublish", "resize-image/a/x.png~_fw96.jpg", {"key": "a/x.png~_fw96.jpg"}),
        ("unpublish", "small/a/x.png~_fw64.jpg", {"key": "a/x.png~_fw64.jpg"}),
    ]
    assert step.note == f"{len(its)} jobs and 6 files are gone, 3 objects follow"


async def test_a_job_that_ends_meanwhile_is_seen_as_the_one_that_follows(config: Config, tmp_path: Path) -> None:
    """Also when that is of a kind that this round has looked at before."""
    thumbnail, compressed = FILES[2:4]
    jobs = Jobs(("upload-next-remove", compressed))
    jobs.endings["upload-next-remove", compressed] = ("upload-next-compress", thumbnail)
    jobs.endings["upload-next-compress", thumbnail] = ("compress", thumbnail)
    await Deletion(config, FolderStore(tmp_path), jobs.cancel).delete("a/x.png", b"")
    assert not jobs.jobs


async def test_jobs_that_come_again_and_again_are_no_end(config: Config, tmp_path: Path) -> None:
    async def removed(_func: str, _name: str) -> str:
        return "removed"

    with pytest.raises(OSError, match="somebody else submits them"):
        await Deletion(config, FolderStore(tmp_path), removed).delete("x.jpg", b"")


@pytest.mark.parametrize("name", ["../x.jpg", "", "guetzli/x.jpg", "resize-image/x.jpg", "x_fw64.jpg", ".incoming/x"])
async def test_only_the_name_of_an_original_is_taken(config: Config, tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        await Deletion(config, FolderStore(tmp_path), Jobs().cancel).delete(name, b"")


def test_it_is_served_on_request_only(config: Config, tmp_path: Path) -> None:
    root = FolderStore(tmp_path)
    assert [function.func for function in Deletion(config, root, Jobs().cancel).served()] == ["delete"]
    assert Deletion(parse(""), root, Jobs().cancel).served() == []
