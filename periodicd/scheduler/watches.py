"""Who waits for a job, and what its run told meanwhile: chunks of data, progress, and in the end how it ended.

Memory only, and bounded: whoever reads too slowly is told how much was missed. A *tail* is what is remembered of one
job. It begins with the first chunk or the first watcher, outlives the job for a moment, so that whoever asks again
between two answers does not miss the end, and is forgotten when there are too many. A result that is large is read
from the store, which keeps it if the job was to have it kept. A watcher that does not read is answered once it does.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

from periodic_client.wire.limits import TAIL_BYTES_MAX, TAIL_CHUNKS_MAX, WAITS_MAX
from periodicd.job import Job, State
from periodicd.protocol import answers, requests
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.scheduler.timers import Deadlines
from periodicd.scheduler.waits import Waits
from periodicd.store.ops import EndingWord, FetchEnd, GetResult, JobEnd

TAILS_MAX = 2 * WAITS_MAX
"""So some of them always have no watcher and can be forgotten."""
LINGER_MS = 60_000
"""The tail of a job that has ended is remembered for so long."""


class Chunk(NamedTuple):
    number: int
    """Of the tail's chunks, from 1."""
    data: bytes


class Tail:
    """What is remembered of one job, as news: each has a number, larger than that of all news before."""

    def __init__(self, job: Job, born: int) -> None:
        self.job = job
        """As it was last seen; its counters and state are those of then."""
        self.born = self.news = born
        self.chunks: deque[Chunk] = deque()
        self.chunks_bytes = 0
        self.last_chunk = 0
        self.progress: requests.Progress | None = None
        self.end: JobEnd | None = None
        self.watchers: dict[tuple[Peer, int], requests.Watch] = {}

    def add(self, data: bytes) -> int:
        """One chunk more. Returns by how many bytes the tail has grown."""
        before = self.chunks_bytes
        self.last_chunk += 1
        self.chunks.append(Chunk(self.last_chunk, data))
        self.chunks_bytes += len(data)
        while self.chunks_bytes > TAIL_BYTES_MAX or len(self.chunks) > TAIL_CHUNKS_MAX:
            self.chunks_bytes -= len(self.chunks.popleft().data)
        return self.chunks_bytes - before

    @property
    def held_bytes(self) -> int:
        return self.chunks_bytes + len((self.end and self.end.data) or b"")

    def forget_chunks(self) -> None:
        self.chunks.clear()
        self.chunks_bytes = 0

    def has_told_all(self, query: requests.Watch, boot: int) -> bool:
        """Whether there is nothing new after the cursor."""
        if query.only_end:
            return self.end is None
        return query.after is not None and query.after.boot == boot and query.after.news >= self.news

    def after(self, cursor: requests.WatchCursor | None, boot: int) -> tuple[list[bytes], int | None]:
        """The chunks after the cursor, and how many were missed; None if that is not known any more."""
        told, is_known = 0, True
        if cursor is not None:
            is_known = cursor.boot == boot and cursor.news >= self.born
            told = cursor.chunk if is_known else 0
        chunks = [chunk.data for chunk in self.chunks if chunk.number > told]
        return chunks, self.last_chunk - told - len(chunks) if is_known else None


class Answer(NamedTuple):
    tail: Tail
    msgid: int
    query: requests.Watch


class Watches:
    def __init__(self, step: Step, waits: Waits, boot: int, bytes_max: int) -> None:
        self._step = step
        self._bytes_max = bytes_max
        self._waits = waits
        self._boot = boot
        self.tails: OrderedDict[int, Tail] = OrderedDict()
        """By job, the one that was touched longest ago first. Not to be changed elsewhere."""
        self._ended: dict[tuple[str, str], int] = {}
        """By identity: the job that ended last, of those with a tail."""
        self._lingering: Deadlines[int] = Deadlines()
        self._held_back: dict[Peer, deque[Answer]] = {}
        """To be given once their peer reads, and the daemon has memory."""
        self._bytes = 0
        self._news = 0

    def __len__(self) -> int:
        return len(self.tails)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self.tails

    @property
    def held_bytes(self) -> int:
        return self._bytes

    # -- watching ------------------------------------------------------------------------------------------------------

    def watch(self, peer: Peer, msgid: int, query: requests.Watch, found: GetResult) -> None:
        """The store has said what there is; answer, or wait until there is more."""
        tail = self._tail_of(query, found)
        if tail is None:
            self._step.reply(peer, msgid, answers.not_watched("changed" if found.result == "changed" else "absent"))
            return
        is_over = not query.timeout_ms or peer.has_ended or peer.is_gone
        if is_over or tail.end is not None or not tail.has_told_all(query, self._boot):
            self._reply(tail, peer, msgid, query)
        elif self._waits.begin(peer, msgid, query.timeout_ms, lambda: self._leave(tail, peer, msgid)):
            tail.watchers[peer, msgid] = query

    def _tail_of(self, query: requests.Watch, found: GetResult) -> Tail | None:
        """Of the job that is asked for: the one with this id, or the one of this name that is there, or was last."""
        if found.shown is not None:
            job = found.shown.job
            there = self._touched(job)
            if job.state is State.DEAD and there.end is None:
                # Whoever died otherwise had begun.
                how: EndingWord = "dead" if job.attempt else "expired"
                self._end(there, JobEnd(job.id, how, job.ended_at_ms or 0, job.attempt, job.reason))
            return there
        job_id = query.job_id if query.job_id is not None else self._ended.get((query.func, query.name))
        tail = self.tails.get(job_id) if job_id is not None else None
        if tail is not None and tail.job.key == (query.func, query.name):
            return tail
        last = found.last
        if last is None or query.job_id not in (None, last.id):
            return None
        was = self._touched(Job(last.id, query.func, query.name, 0, 0, attempt=last.attempt))
        self._end(was, last)
        return was

    def _leave(self, tail: Tail, peer: Peer, msgid: int) -> None:
        """The watcher's time is over: it is told how things stand."""
        query = tail.watchers.pop((peer, msgid))
        self._reply(tail, peer, msgid, query)

    def _reply(self, tail: Tail, peer: Peer, msgid: int, query: requests.Watch) -> None:
        if peer.is_gone:
            return
        if not peer.can_take_more:
            peer.unanswered.add(msgid)
            self._held_back.setdefault(peer, deque()).append(Answer(tail, msgid, query))
            return
        chunks: list[bytes] = []
        missed: int | None = 0
        if not query.only_end:
            chunks, missed = tail.after(query.after, self._boot)
        end = tail.end
        progress = tail.progress and tail.progress._asdict()
        cursor = requests.WatchCursor(self._boot, tail.job.id, tail.news, tail.last_chunk)
        answer = answers.watched(tail.job, end, progress, chunks, missed, str(cursor))
        peer.expect(sum(map(len, chunks)) + (end.data_bytes if end is not None else 0))
        if end is None or end.data is not None or not end.data_bytes:
            self._step.reply(peer, msgid, answer)
            return

        def on_fetched(kept: JobEnd | None) -> None:
            self._step.reply(peer, msgid, answer | {"data": None if kept is None else kept.data})

        self._step.read(FetchEnd(end.id), on_fetched)

    # -- told ----------------------------------------------------------------------------------------------------------

    def add(self, job: Job, data: bytes) -> None:
        """A run of the job tells more."""
        tail = self._touched(job)
        self._bytes += tail.add(data)
        self._tell(tail)
        self._keep_to_limits()

    def progress(self, job: Job, progress: requests.Progress) -> None:
        tail = self._touched(job)
        tail.progress = progress
        self._tell(tail)

    def began(self, job: Job) -> None:
        """A run of the job did. What the one before it told is forgotten."""
        tail = self.tails.get(job.id)
        if tail is not None:
            tail.job, tail.progress = job, None
            self._bytes -= tail.chunks_bytes
            tail.forget_chunks()
            self._tell(tail)

    def waits_again(self, job: Job) -> None:
        """The run ended, and another is to follow."""
        tail = self.tails.get(job.id)
        if tail is not None:
            tail.job = job
            self._tell(tail)

    def gone(self, job_id: int, how: EndingWord, reason: str | None) -> None:
        """The job's record is; or it was dead, which is told already."""
        tail = self.tails.get(job_id)
        if tail is not None and tail.end is None:
            self._end(tail, JobEnd(job_id, how, self._step.now.wall_ms, tail.job.attempt, reason or tail.job.reason))

    def ended(self, end: JobEnd) -> None:
        """The job did, for good."""
        tail = self.tails.get(end.id)
        # One that died may yet turn out to have been done.
        if tail is not None and (tail.end is None or end.ending == "done"):
            self._end(tail, end)

    def _end(self, tail: Tail, end: JobEnd) -> None:
        tail.end = end if end.data_bytes <= TAIL_BYTES_MAX else end._replace(data=None)
        self._bytes += len(tail.end.data or b"")
        self._ended[tail.job.key] = max(end.id, self._ended.get(tail.job.key, 0))
        self._lingering.set(end.id, self._step.now.mono_ms + LINGER_MS)
        self.tails.move_to_end(end.id)
        self._tell(tail)
        self._keep_to_limits()

    def _tell(self, tail: Tail) -> None:
        """There is news."""
        self._news += 1
        tail.news = self._news
        for (peer, msgid), query in list(tail.watchers.items()):
            if not tail.has_told_all(query, self._boot):
                del tail.watchers[peer, msgid]
                self._waits.end(peer, msgid)
                self._reply(tail, peer, msgid, query)

    # -- remembering ---------------------------------------------------------------------------------------------------

    def _touched(self, job: Job) -> Tail:
        tail = self.tails.get(job.id)
        if tail is None:
            self._news += 1
            tail = self.tails[job.id] = Tail(job, self._news)
            self._keep_to_limits()
        else:
            self.tails.move_to_end(job.id)
            if tail.end is None:
                tail.job = job
        return tail

    def _keep_to_limits(self) -> None:
        """Forget the tails that were touched longest ago. Those with watchers lose their chunks at the most.

        So do, for bytes, those of jobs that go on. Of one that has ended nobody waits for more.
        """
        while len(self.tails) > TAILS_MAX or self._bytes > self._bytes_max:
            job_id, tail = next(iter(self.tails.items()))
            if tail.watchers or (tail.end is None and len(self.tails) <= TAILS_MAX):
                self._bytes -= tail.chunks_bytes
                tail.forget_chunks()
                self.tails.move_to_end(job_id)
            else:
                self._forget(job_id)

    def _forget(self, job_id: int) -> None:
        tail = self.tails.pop(job_id)
        self._bytes -= tail.held_bytes
        # Answers that wait for their peer to read hold the tail, but no longer what is in it.
        tail.forget_chunks()
        if tail.end is not None:
            tail.end = tail.end._replace(data=None)
        self._lingering.discard(job_id)
        if self._ended.get(tail.job.key) == job_id:
            del self._ended[tail.job.key]

    def advance(self) -> None:
        """Forget the tails of jobs that have ended a while ago, and answer those who read again."""
        for peer in [peer for peer in self._held_back if peer.can_take_more or peer.is_gone]:
            answers_ = self._held_back.pop(peer)
            while answers_ and peer.can_take_more:
                tail, msgid, query = answers_.popleft()
                self._reply(tail, peer, msgid, query)
            if answers_ and not peer.is_gone:
                self._held_back[peer] = answers_
        for job_id in list(self._lingering.pop_due(self._step.now.mono_ms)):
            self._forget(job_id)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        at_ms = self._lingering.next_ms()
        return None if at_ms is None else at_ms - self._step.now.mono_ms

    def snapshot(self) -> dict[int, tuple[int, int]]:
        """By job: how many bytes are remembered, and how many watch."""
        return {job_id: (tail.held_bytes, len(tail.watchers)) for job_id, tail in self.tails.items()}
