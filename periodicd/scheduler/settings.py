"""What of the rules can be set. Values only; config.py says from where."""

from dataclasses import dataclass, field

from periodicd.scheduler.queues import Budget


@dataclass(frozen=True, slots=True)
class Settings:
    server: str = "periodicd"
    build: str = "pure"
    durability: str = "full"
    connections: int = 5_000
    """How many may be open; the network holds to it."""
    message_bytes: int = 32 * 1024 * 1024
    workload_bytes: int = 16 * 1024 * 1024
    connections_bytes: int = 256 * 1024 * 1024
    """What all connections together may hold of messages in progress, not dealt with, and not yet sent."""
    budget: Budget = field(default_factory=Budget)
    heard_a_step: int = 256
    """So many requests are heard in a step, of all connections together, each in its turn; a batch is as many as a
    third of its jobs."""
    given_a_step: int = 128
    """So many jobs are given out in a step, of all functions together."""
    turn: int = 32
    """So many of one function, before the next has its turn."""
    claim_delay_ms: int = 50
    """A claim is written so long after its job was given out, unless the run has ended by then; or longer, where runs
    take longer, but never more than ``claim_delay_max_ms``."""
    claim_delay_max_ms: int = 500
    restart_grace_ms: int = 30_000
    """A run of the daemon's life before waits so long for its worker to come back."""
    idle_ms: int = 3_600_000
    """A connection that says nothing for so long, and waits for nothing, is closed."""
    dead_kept_ms: int = 30 * 86_400_000
    dead_kept: int = 100_000
    tails_bytes: int = 64 * 1024 * 1024
    """What is remembered at the most of what runs told and results were, for who watches."""
    measures: bool = False
    """What each function's jobs come to is counted, for metrics."""
    results_kept: int = 100_000
    results_bytes: int = 256 * 1024 * 1024
    """Of the results of jobs that are kept after their end; past it the first to be forgotten anyway are."""
