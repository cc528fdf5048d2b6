"""What ``workers`` tells: who takes jobs, how many more, and what each runs. Looks at every part and changes none."""

from collections.abc import Iterator
from itertools import islice

from periodic_client.wire.limits import SILENCE_MS
from periodicd.protocol import answers, requests
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step

SHOWN_MAX = 100
"""Functions, and runs, of each."""


class Workers:
    def __init__(self, step: Step, runs: Runs, connections: Connections) -> None:
        self._step = step
        self._runs = runs
        self._connections = connections

    def ask(self, peer: Peer, msgid: int, query: requests.WorkersQuery) -> None:
        found = list(islice(self._matching(query), query.limit + 1))
        page = found[: query.limit]
        runs: dict[Peer, list[Run]] = {}
        for run in self._runs.in_progress.of_peers():
            if run.peer is not None:
                runs.setdefault(run.peer, []).append(run)
        answer: answers.WorkersAnswer = {
            "workers": [self._worker(each, runs.get(each, [])) for each in page],
            "next": requests.worker_cursor(page[-1].number) if len(found) > len(page) else None,
        }
        self._step.reply(peer, msgid, answer)

    def _matching(self, query: requests.WorkersQuery) -> Iterator[Peer]:
        """In the order in which they connected."""
        for peer in self._connections:
            if (
                peer.number > query.after
                and peer.subscriptions
                and (query.func is None or query.func in peer.subscriptions)
            ):
                yield peer

    def _worker(self, peer: Peer, runs: list[Run]) -> answers.WorkerAnswer:
        subscriptions = islice(peer.subscriptions.values(), SHOWN_MAX)
        return {
            "connection": peer.number,
            "client": peer.client,
            "connected_at_ms": peer.connected_at_ms,
            "silent_ms": max(0, self._step.now.mono_ms - peer.heard_ms),
            "silence_ms": peer.silence_ms or SILENCE_MS[0],
            "credit": peer.credit,
            "running": len(runs),
            "function_count": len(peer.subscriptions),
            "functions": [{"func": each.func, "limit": each.limit, "running": each.running} for each in subscriptions],
            "runs": [
                {
                    "func": run.job.func,
                    "name": run.job.name,
                    "id": run.job.id,
                    "run": run.number,
                    "started_at_ms": run.job.started_at_ms,
                }
                for run in runs[:SHOWN_MAX]
            ],
        }
