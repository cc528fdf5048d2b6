"""What a client does with many jobs at once: all that a query means, some to a request, until there is nothing more.

Each method here is a request of protocol.md under the same name, sent again with its cursor. Nothing is looked at here:
which jobs those are is for the daemon to say.
"""

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import trio

from periodic_client.waiting import Waiting
from periodic_client.wire import Busy


class More(TypedDict, total=False):
    """Which jobs, beside function and state; the keys are those of ``list`` in protocol.md. All of it applies."""

    prefix: str | None
    """How the job's name begins."""
    due_from_at_ms: int | None
    due_before_at_ms: int | None
    reason: str | None
    """A text that occurs in the reason of its last failure."""
    group_id: int | None
    """Of which group it is a member, by the id of the group's job."""


class Query(More, total=False):
    """Which jobs a request on many is about."""

    func: str | None
    state: str | None
    all: bool
    """Every job: needed if nothing else is said."""


class Matching(Waiting):
    """The part of Client for many jobs."""

    async def remove_matching(
        self,
        *,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        **query: Unpack[Query],
    ) -> int:
        """Take away all jobs that a query means, as ``remove`` does, and return how many; ``dry_run`` only counts them.

        ``progress`` is told how many it were so far, also before an error comes. Jobs that are submitted meanwhile
        are left alone. Raises Invalid if nothing says which jobs, so that a slip does not mean all.
        """
        return await self._matching("remove_matching", query, dry_run, progress)

    async def requeue_matching(
        self,
        *,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        **query: Unpack[Query],
    ) -> int:
        """Give all dead jobs that a query means a new life, due now; otherwise as ``remove_matching``."""
        return await self._matching("requeue_matching", query, dry_run, progress)

    async def cancel_matching(
        self,
        *,
        cancel_reason: str | None = None,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        **query: Unpack[Query],
    ) -> int:
        """Cancel all jobs that a query means, as ``cancel`` does: what is counted is gone, or asked to end.

        The dead are left alone. ``cancel_reason``: why, for their workers; ``reason`` is the query's, as everywhere.
        Otherwise as ``remove_matching``.
        """
        return await self._matching("cancel_matching", query, dry_run, progress, reason=cancel_reason)

    async def move_matching(
        self,
        *,
        due_at_ms: int | None = None,
        delay_ms: int | None = None,
        priority: int | None = None,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        **query: Unpack[Query],
    ) -> int:
        """Give all waiting jobs that a query means another due time or priority; otherwise as ``remove_matching``.

        Also those that wait behind another. ``delay_ms`` is counted anew for each hundred.
        """
        to = {"due_at_ms": due_at_ms, "delay_ms": delay_ms, "priority": priority}
        return await self._matching("move_matching", query, dry_run, progress, **to)

    async def _matching(
        self, method: str, query: Query, dry_run: bool, progress: Callable[[int], object] | None, **options: Any
    ) -> int:
        count = 0
        after: str | None = None
        while True:
            said = {"dry_run": dry_run, "after": after, **options}
            answer: dict[str, Any] = await self._in_turn(method, query, said)
            count += int(answer["count"])
            if progress is not None:
                progress(count)
            after = answer.get("next")
            if after is None:
                return count

    async def _in_turn(self, method: str, *params: Any) -> Any:
        """A request for which the daemon may have too much to do at the moment; it says when to ask again."""
        with self._time_limit(method):
            while True:
                try:
                    return await self.request(method, *params)
                except Busy as error:
                    # Nothing was begun, so to ask again costs nothing.
                    wait_ms = error.details.get("retry_after_ms", "")
                    if not wait_ms.isdecimal():
                        raise
                    await trio.sleep(int(wait_ms) / 1000)
