"""Yardsticks: other servers that are given the same work in the same minutes, so that a busy machine slows all alike.

What talks to each is a socket and Python, as small as the server's protocol allows, and used by the same rounds
(``rounds.py``): the same processes, the same number of messages to a write, the same 100 bytes of workload. A round
says nothing about what a server keeps: periodicd and beanstalkd sync every job before its answer, gearmand keeps jobs
in memory only.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Refused(Exception):
    """A server answered something else than what a round expects."""


class Talk(Protocol):
    """One connection's side of a server's protocol: what is to be sent, and what was heard. It owns no socket."""

    ended: int
    """How many jobs this connection knows to have ended."""

    def put(self, number: int, workload: bytes, delay_s: int = 0) -> bytes:
        """A job to submit; its number is unique among those of the server. Without delays there it is due at once."""

    def take(self, room: int) -> bytes:
        """What a worker says first: so many jobs at a time."""

    def heard(self, data: bytes) -> tuple[int, list[bytes]]:
        """How many submits were acknowledged, and the workloads of the jobs that were given. Raises Refused."""

    def reply(self) -> bytes:
        """What a worker says to that: the jobs that it was given are done, and it takes as many more."""

    def flush(self) -> bytes:
        """A question whose answer tells that the jobs have ended, where ends are not answered one by one."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    """On 127.0.0.1."""
    pid: int


@dataclass(frozen=True)
class Yardstick:
    """A server as it is measured."""

    name: str
    program: str
    start: Callable[[Path], AbstractContextManager[Server]]
    """Of a folder of its own, which is empty."""
    talk: Callable[[], Talk]
    connections: int
    """Of the worker: what this server is quickest with."""
    room: int
    """Of each: jobs at a time."""
    jobs: int
    """To submit and to run in a round, which should take a second or some."""
    left_out: frozenset[str] = frozenset()
    """Names of rounds that it has no notion of, or that tell nothing new."""
