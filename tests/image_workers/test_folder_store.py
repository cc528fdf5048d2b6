"""Whole files or none, and nothing outside of the root folder."""

import hashlib
import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_workers.errors import Refused
from image_workers.stores import Stat
from image_workers.stores.folder import FolderStore


@pytest.fixture
def root(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "root")


def tree(folder: Path) -> dict[str, bytes | Path]:
    """Every path below the folder with its content, or what a link points to."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_file_is_written_read_and_removed(root: FolderStore) -> None:
    version = root.write("a/b/x.jpg", b"content")
    assert root.read("a/b/x.jpg", 7) == (b"content", version)
    assert root.version("a/b/x.jpg") == version
    assert root.remove("a/b/x.jpg") is True
    assert root.remove("a/b/x.jpg") is False
    assert root.version("a/b/x.jpg") is None
    assert tree(root.folder) == {}


def test_the_size_is_that_of_a_file_and_of_nothing_else(root: FolderStore) -> None:
    root.write("a/x.jpg", b"content")
    (root.folder / "a" / "pipe").symlink_to("/etc/passwd")
    assert root.size("a/x.jpg") == 7
    assert root.size("a") is None
    assert root.size("a/y.jpg") is None
    assert root.size("a/x.jpg/z") is None
    with pytest.raises(Refused):
        root.size("a/pipe")


def test_another_content_is_another_version_however_soon_it_comes(root: FolderStore) -> None:
    versions = [root.write("x", b"same size %02d" % number) for number in range(50)]
    assert len(set(versions)) == 50
    assert root.version("x") == versions[-1]


def test_a_version_is_of_the_content_alone_so_all_machines_mean_the_same_by_it(
    root: FolderStore, tmp_path: Path
) -> None:
    version = root.write("x", b"content")
    shutil.copy(root.folder / "x", tmp_path / "copy")
    (tmp_path / "copy").replace(root.folder / "x")
    os.utime(root.folder / "x", (1, 1))
    assert root.stat("x") == Stat(7, version)
    assert version == hashlib.sha256(b"content").hexdigest()


def test_a_file_larger_than_the_limit_is_refused(root: FolderStore) -> None:
    root.write("x", b"12345678")
    with pytest.raises(Refused, match="larger than 7 bytes"):
        root.read("x", 7)


def test_a_missing_file_is_an_os_error_since_it_may_still_come(root: FolderStore) -> None:
    with pytest.raises(FileNotFoundError):
        root.read("x", 7)


def test_a_reader_sees_the_old_content_until_the_new_one_is_whole(root: FolderStore) -> None:
    root.write("x", b"old")
    with root.replacing("x") as file:
        file.write(b"new")
        file.flush()
        assert root.read("x", 9)[0] == b"old"
    assert root.read("x", 9)[0] == b"new"


def test_a_reader_that_has_begun_keeps_the_old_content_and_its_version(root: FolderStore) -> None:
    old = root.write("x", b"old")
    with root.open("x") as (file, version):
        root.write("x", b"newer")
        assert file.read() == b"old"
        assert version == old != root.version("x")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_after_a_disk_fault_the_old_content_is_there_and_no_scratch_file(
    root: FolderStore, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    root.write("x", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as faulty:
        faulty.setattr(os if broken == "fsync" else Path, broken, fail)
        with pytest.raises(OSError, match="No space left"):
            root.write("x", b"new")
    assert tree(root.folder) == {"x": b"old"}


def test_the_content_is_synced_before_its_name_and_the_folder_after(
    root: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noting_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    with root.replacing("a/x") as file:
        file.write(b"content")
    # One "folder" is root, in which the folder a was made.
    assert done == ["file", "rename", "folder", "folder"]


def test_leftovers_of_killed_processes_are_removed_but_not_what_may_be_in_use(root: FolderStore) -> None:
    scratch = root.folder / ".incoming"
    (scratch / "old").write_bytes(b"half")
    os.utime(scratch / "old", (1, 1))
    (scratch / "young").write_bytes(b"half")
    FolderStore(root.folder).remove_leftovers()
    assert tree(root.folder) == {".incoming/young": b"half"}


def test_many_writers_of_one_name_leave_one_whole_file(root: FolderStore) -> None:
    contents = [bytes([value]) * 100_000 for value in range(8)]

    def write(content: bytes) -> None:
        with suppress(FileNotFoundError):  # a later one came first
            root.write("a/x", content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree(root.folder)["a/x"] in contents


@pytest.mark.parametrize(("later", "left"), [("write", {"x": b"newer"}), ("removal", {})])
def test_a_write_that_the_disk_holds_up_does_not_undo_a_later_one(
    root: FolderStore, monkeypatch: pytest.MonkeyPatch, later: str, left: dict[str, bytes]
) -> None:
    held, goes_on = threading.Event(), threading.Event()
    replace = Path.replace
    late: list[str] = []

    def held_up(path: Path, target: Path) -> Path:
        held.set()
        goes_on.wait()
        return replace(path, target)

    def write_late() -> None:
        try:
            root.write("x", b"late")
        except FileNotFoundError as error:
            late.append(str(error))

    thread = threading.Thread(target=write_late)
    with monkeypatch.context() as slow:
        slow.setattr(Path, "replace", held_up)
        thread.start()
        held.wait()
    if later == "write":
        root.write("x", b"newer")
    else:
        root.remove("x")
    goes_on.set()
    thread.join()
    assert tree(root.folder) == left
    assert len(late) == 1
    assert "a later write or removal of the same name came first" in late[0]


def test_what_is_there_and_what_is_unfinished_is_listed(root: FolderStore) -> None:
    root.write("a/x.jpg", b"123")
    root.write("y.jpg", b"1")
    with root.replacing("y.jpg") as file:
        file.write(b"12")
        file.flush()
        (unfinished,) = root.unfinished()
        assert unfinished.size == 2
        assert sorted((each.name, each.size) for each in root.entries()) == [("a/x.jpg", 3), ("y.jpg", 1)]
    (root.folder / ".incoming" / "left").write_bytes(b"")
    root.discard(next(root.unfinished()))
    assert list(root.unfinished()) == []


def test_a_name_that_goes_through_a_file_fails(root: FolderStore) -> None:
    root.write("a", b"")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        root.write("a/x", b"")
    root.write("b/x", b"")
    with pytest.raises(IsADirectoryError):
        root.write("b", b"")
    with pytest.raises(IsADirectoryError):
        root.remove("b")
    assert tree(root.folder) == {"a": b"", "b/x": b""}


class TestLinks:
    @pytest.fixture
    def outside(self, tmp_path: Path, root: FolderStore) -> Path:
        """A folder beside root, with links to it and into root from root."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (tmp_path / "root-sibling").mkdir()
        (root.folder / "link").symlink_to(outside)
        (root.folder / "secret").symlink_to(outside / "secret")
        (root.folder / "sibling").symlink_to(tmp_path / "root-sibling")
        (root.folder / "loop").symlink_to("loop")
        (root.folder / "inner").mkdir()
        (root.folder / "inside").symlink_to(root.folder / "inner")
        return outside

    @pytest.mark.parametrize("name", ["link/secret", "link/new", "link/new/new", "secret", "sibling/x", "link", "loop"])
    def test_a_link_out_of_root_is_refused(self, root: FolderStore, outside: Path, name: str) -> None:
        before = tree(outside.parent)
        for use in (
            lambda: root.read(name, 99),
            lambda: root.write(name, b"x"),
            lambda: root.remove(name),
            lambda: root.version(name),
        ):
            with pytest.raises(Refused, match="symbolic link"):
                use()
        assert tree(outside.parent) == before

    @pytest.mark.usefixtures("outside")
    def test_a_linked_folder_that_stays_in_root_is_fine(self, root: FolderStore) -> None:
        root.write("inside/x", b"x")
        assert (root.folder / "inner" / "x").read_bytes() == b"x"

    @given(
        name=st.lists(
            st.sampled_from(["a", "..", ".", "", "link", "secret", "inside", "loop", "/etc", "~", "\0", "outside"])
            | st.text(max_size=6),
            max_size=5,
        ).map("/".join),
        content=st.binary(max_size=4),
    )
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_the_name_nothing_outside_is_touched(
        self, root: FolderStore, outside: Path, name: str, content: bytes
    ) -> None:
        def beside_root() -> dict[str, bytes | Path]:
            return {path: content for path, content in tree(outside.parent).items() if not path.startswith("root/")}

        before = beside_root()
        for use in (
            lambda: root.write(name, content),
            lambda: root.read(name, 99)[0] != b"secret" or pytest.fail("read a file outside of root"),
            lambda: root.remove(name),
        ):
            try:
                use()
            except (Refused, OSError):
                continue
        assert beside_root() == before


def test_what_is_no_regular_file_is_refused_without_waiting(root: FolderStore) -> None:
    os.mkfifo(root.folder / "pipe")
    with pytest.raises(Refused, match="not a regular file"):
        root.read("pipe", 9)
    (root.folder / "folder").mkdir()
    with pytest.raises((Refused, IsADirectoryError)):
        root.read("folder", 9)


def test_a_removal_of_a_version_leaves_a_newer_file(root: FolderStore) -> None:
    old = root.write("a/x", b"old")
    newer = root.write("a/x", b"newer")
    assert root.remove("a/x", old) is False
    assert tree(root.folder) == {"a/x": b"newer"}
    assert root.version("a/x") == newer
    assert root.remove("a/x", newer) is True
    assert tree(root.folder) == {}


def test_empty_folders_go_with_their_last_file_and_others_stay(root: FolderStore) -> None:
    root.write("a/b/c/x", b"x")
    root.write("a/y", b"y")
    root.remove("a/b/c/x")
    assert sorted(path.name for path in root.folder.iterdir()) == [".incoming", "a"]
    assert [path.name for path in (root.folder / "a").iterdir()] == ["y"]
    (root.folder / "a" / "left" / "over").mkdir(parents=True)  # whoever removed the file was killed here
    assert root.remove("a/left/over/x") is False
    assert [path.name for path in (root.folder / "a").iterdir()] == ["y"]


def test_a_folder_that_is_removed_while_a_file_is_written_into_it_is_made_again(root: FolderStore) -> None:
    def remove() -> None:
        while not done.is_set():
            root.remove("a/b/none")

    done = threading.Event()
    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for number in range(200):
            root.write("a/b/x", b"%d" % number)
            assert root.read("a/b/x", 9)[0] == b"%d" % number
            root.remove("a/b/x")
    finally:
        done.set()
        thread.join()
