"""The model keeps what was synced, whatever the dice, and loses what was not, for some dice."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.power.disk import PAGE_BYTES, Disk, File

changes = st.lists(
    st.integers(0, 3 * PAGE_BYTES) | st.tuples(st.integers(0, 3 * PAGE_BYTES), st.binary(min_size=1, max_size=9000))
)


def change(file: File, several: list[int | tuple[int, bytes]]) -> None:
    for each in several:
        if isinstance(each, int):
            file.truncate(each)
        else:
            file.write(*each)


@given(changes, st.integers())
def test_what_was_synced_stays(several: list[int | tuple[int, bytes]], seed: int) -> None:
    disk = Disk()
    file = disk.names[b"a"] = File()
    change(file, several)
    before = bytes(file.data)
    disk.sync(file)
    disk.cut(Random(seed))
    assert disk.names == {b"a": file}
    assert file.data == before


@given(changes)
def test_a_file_reads_as_it_was_written(several: list[int | tuple[int, bytes]]) -> None:
    file = File()
    change(file, several)
    plain = b""
    for each in several:
        if isinstance(each, int):
            plain = plain[:each].ljust(each, b"\0")
        else:
            offset, data = each
            plain = plain[:offset].ljust(offset, b"\0") + data + plain[offset + len(data) :]
    assert file.data == plain


def after_a_cut(seed: int, *, synced: bytes, unsynced: bytes) -> bytes:
    disk = Disk()
    file = disk.names[b"a"] = File()
    file.write(0, synced)
    disk.sync(file)
    file.write(len(synced), unsynced)
    disk.cut(Random(seed))
    return bytes(file.data)


def test_of_what_was_not_synced_any_part_is_left() -> None:
    synced, unsynced = b"s" * PAGE_BYTES, b"1" * PAGE_BYTES + b"2" * PAGE_BYTES
    left = {after_a_cut(seed, synced=synced, unsynced=unsynced) for seed in range(100)}
    hole = bytes(PAGE_BYTES) + unsynced[PAGE_BYTES:]
    assert left == {synced + part for part in (b"", unsynced[:PAGE_BYTES], hole, unsynced)}


def test_names_that_were_not_synced_may_be_old_or_new() -> None:
    left = set()
    for seed in range(20):
        disk = Disk()
        disk.names[b"old"] = File()
        disk.sync_names()
        del disk.names[b"old"]
        disk.names[b"new"] = File()
        disk.cut(Random(seed))
        left.add(frozenset(disk.names))
    assert left == {frozenset(), frozenset({b"old"}), frozenset({b"new"}), frozenset({b"old", b"new"})}


def test_a_sync_that_failed_leaves_what_can_be_read_and_is_lost() -> None:
    disk = Disk()
    file = disk.names[b"a"] = File()
    disk.sync_names()
    file.write(0, b"x")
    file.fail_to_sync()
    assert file.data == b"x"
    disk.sync(file)
    disk.cut(Random(1))
    assert file.data == b""
