"""Kinds of values that a peer may send: their ranges, from the protocol's constants. Types only."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from periodic_client.wire import limits
from periodicd.protocol.words import BYTES, CURSOR

Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_BYTES_MAX)]
Text = Annotated[str, Meta(max_length=limits.NAME_BYTES_MAX)]
Cursor = Annotated[str, Meta(max_length=limits.CURSOR_BYTES_MAX), CURSOR]
Bytes = Annotated[Any, BYTES]
Weight = Annotated[int, Meta(ge=limits.WEIGHT[0], le=limits.WEIGHT[1])]
Capacity = Annotated[int, Meta(ge=limits.CAPACITY[0], le=limits.CAPACITY[1])]
Weights = Annotated[dict[Name, Weight], Meta(max_length=limits.LOCKS_MAX)]
Headers = Annotated[dict[str, str], Meta(max_length=limits.HEADERS_MAX)]
Features = Annotated[tuple[Text, ...], Meta(max_length=limits.FEATURES_MAX)]

Id = Annotated[int, Meta(ge=1, le=limits.INTEGER_MAX)]
Version = Annotated[int, Meta(ge=1, le=limits.INTEGER_MAX)]
Time = Annotated[int, Meta(ge=0, le=limits.TIME_MS_MAX)]
Wait = Annotated[int, Meta(ge=0, le=limits.TIME_MS_MAX)]
Priority = Annotated[int, Meta(ge=limits.PRIORITY[0], le=limits.PRIORITY[1])]
Lease = Annotated[int, Meta(ge=limits.LEASE_MS[0], le=limits.LEASE_MS[1])]
Grace = Annotated[int, Meta(ge=0, le=limits.GRACE_MS_MAX)]
Silence = Annotated[int, Meta(ge=limits.SILENCE_MS[0], le=limits.SILENCE_MS[1])]
Retries = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["limit"][1])]
RetryWait = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["delay_ms"][1])]
RetryCap = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["cap_ms"][1])]
Keeping = Annotated[int, Meta(ge=0, le=limits.RESULT_MS_MAX)]
Percent = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["jitter_percent"][1])]
Room = Annotated[int, Meta(ge=1, le=limits.CONNECTION_JOBS_MAX)]
Page = Annotated[int, Meta(ge=1, le=limits.LISTING_MAX)]
Patience = Annotated[int, Meta(ge=0, le=limits.WAIT_MS_MAX)]
Msgid = Annotated[int, Meta(ge=0, le=limits.MSGID_MAX)]
Amount = Annotated[int, Meta(ge=0, le=limits.INTEGER_MAX)]
Kinds = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=limits.KINDS_MAX)]
RunningMax = Annotated[int, Meta(ge=limits.RUNNING_MAX[0], le=limits.RUNNING_MAX[1])]
RateCount = Annotated[int, Meta(ge=limits.RATE_COUNT[0], le=limits.RATE_COUNT[1])]
RateTime = Annotated[int, Meta(ge=limits.RATE_PER_MS[0], le=limits.RATE_PER_MS[1])]
QueueMax = Annotated[int, Meta(ge=limits.QUEUE_MAX[0], le=limits.QUEUE_MAX[1])]
Every = Annotated[int, Meta(ge=limits.EVERY_MS[0], le=limits.EVERY_MS[1])]
Jitter = Annotated[int, Meta(ge=limits.JITTER_MS[0], le=limits.JITTER_MS[1])]
Times = Annotated[int, Meta(ge=1, le=limits.NEXT_TIMES_MAX)]
ScheduleName = Annotated[str, Meta(min_length=1, max_length=limits.SCHEDULE_NAME_BYTES_MAX)]
Funcs = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=limits.TAKE_FUNCS_MAX)]

StateWord = Literal["waiting", "running", "dead", "behind", "parked"]
EndWord = Literal["failed", "later"]
OutcomeWord = Literal["done", "failed", "later"]

CHARACTERS_THAT_FIT = limits.NAME_BYTES_MAX // 4
"""Without counting: UTF-8 has 4 bytes a character at the most."""
