"""How a command worker does its jobs, as ``periodic work`` was told. Values only, and quick to import."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from periodic_client.job import Job

FramingName = Literal["lines", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a command worker runs its jobs; what ``periodic work`` has options for."""

    gives_name: bool = True
    """The name is the command's last argument, or what a line says; else a line says the workload."""
    limit: int = 1
    """How many run at once."""
    streams: bool = False
    """Lines of standard error are told to who watches."""
    timeout_s: float = inf
    later_ms: int = 5000
    retry_limit: int | None = None
    memory: int | None = None
    """Bytes of address space that each process of a command may have."""
    locks: Mapping[str, int] = field(default_factory=dict)
    on_cancel: signal.Signals = signal.SIGTERM
    grace_s: float = 5.0
    drain_s: float = inf
    pipe: bool = False
    """Commands live on."""
    framing: FramingName = "lines"
    ready_s: float = 10.0
    """How long one that lives on may take to print its first line."""

    def first_signal(self, job: Job) -> signal.Signals:
        """With which a run that is not over is ended."""
        return self.on_cancel if job.cancelled or job.lost else signal.SIGTERM
