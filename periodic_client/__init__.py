"""The Python library of periodicd: submit timed jobs, and run them.

Client and worker need trio. ``periodic_client.wire`` needs msgpack only, so what needs trio is imported when it is
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from periodic_client.endings import (
    Broadcast,
    Group,
    JobCancelled,
    JobDead,
    JobExpired,
    JobRefused,
    JobRemoved,
    JobReplaced,
    News,
    NotDone,
    ResultLost,
)
from periodic_client.outcomes import (
    Done,
    Failed,
    FunctionSettings,
    GiveUp,
    Later,
    NewJob,
    Outcome,
    Rate,
    Retry,
    ScheduledJob,
)
from periodic_client.wire import Full, Invalid, LeaseLost, PeriodicError

if TYPE_CHECKING:
    from periodic_client.client import Client, Look, Submitted, SubmittedGroup
    from periodic_client.job import Job
    from periodic_client.scheduling import Fired, Scheduled
    from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
    from periodic_client.waiting import EventsPage, Extended, TakenJob
    from periodic_client.worker import Worker

__all__ = [
    "Broadcast",
    "CannotConnect",
    "Client",
    "ConnectionLost",
    "Done",
    "EventsPage",
    "Extended",
    "Failed",
    "Fired",
    "Full",
    "FunctionSettings",
    "GiveUp",
    "Group",
    "Invalid",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobExpired",
    "JobRefused",
    "JobRemoved",
    "JobReplaced",
    "Later",
    "LeaseLost",
    "Look",
    "NewJob",
    "News",
    "NotDone",
    "Outcome",
    "PeriodicError",
    "Rate",
    "ResultLost",
    "Retry",
    "Scheduled",
    "ScheduledJob",
    "Submitted",
    "SubmittedGroup",
    "TakenJob",
    "TimedOut",
    "Worker",
]


_HOMES = {
    "CannotConnect": "session",
    "Client": "client",
    "ConnectionLost": "session",
    "EventsPage": "waiting",
    "Extended": "waiting",
    "Fired": "scheduling",
    "Job": "job",
    "Look": "client",
    "Scheduled": "scheduling",
    "Submitted": "client",
    "SubmittedGroup": "client",
    "TakenJob": "waiting",
    "TimedOut": "session",
    "Worker": "worker",
}


def __getattr__(name: str) -> Any:
    """Import what needs trio on first use (https://peps.python.org/pep-0562/)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
