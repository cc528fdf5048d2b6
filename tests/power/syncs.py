"""How the syncs of files go on the disk of disk.py: well and at once, unless it was ordered otherwise."""

import trio


class Syncs:
    """Files only: a directory's sync always goes well, and no commit waits for one."""

    def __init__(self) -> None:
        self._begun = 0
        self._to_fail = 0
        self._slow_ms = 0
        self._one_is_held = trio.Event()
        self._released = trio.Event()
        self._released.set()

    async def goes_well(self) -> bool:
        """A sync begins. Returns once it is to end."""
        self._begun += 1
        if not self._released.is_set():
            self._one_is_held.set()
        await trio.sleep(self._slow_ms / 1000)
        await self._released.wait()
        self._to_fail -= (fails := self._to_fail > 0)
        return not fails

    def release(self) -> None:
        self._released.set()

    async def obey(self, order: str) -> str:
        """Orders of ``PowerDisk``. Returns what is to be answered beside that it is done."""
        match order.split():
            case ["fail_syncs", count]:
                self._to_fail = int(count)
            case ["slow_syncs", ms]:
                self._slow_ms = int(ms)
            case ["hold_syncs"]:
                self._one_is_held, self._released = trio.Event(), trio.Event()
            case ["until_held"]:
                await self._one_is_held.wait()
            case ["release_syncs"]:
                self.release()
            case ["count_syncs"]:
                return f" {self._begun}"
            case _:
                raise ValueError(order)
        return ""
