"""The protocol's constants: what protocol.md says may be how long, how large, how many. Numbers only.

The daemon's types, the library's own checks and the tests take them from here.
"""

WORKLOAD_BYTES = 16 * 1024 * 1024
"""Unless the daemon is configured otherwise; ``hello`` says it."""
NAME_BYTES_MAX = 255
BATCH_JOBS_MAX = 1000
LISTING_MAX = 1000
MATCHED_MAX = 100
"""So many jobs are changed by one request on many."""
CURSOR_BYTES_MAX = 300
REASON_BYTES_MAX = 1000
"""So much of a reason is kept."""
HEADERS_MAX = 64
HEADERS_BYTES_MAX = 4096
FEATURES_MAX = 64
MSGID_MAX = 2**32 - 1
INTEGER_MAX = 2**53 - 1
"""What every language can hold: JavaScript, Lua and JSON know integers as doubles."""
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: what every language's calendar can still show."""
PRIORITY = (-100, 100)
LEASE_MS = (1_000, 86_400_000)
RESULT_MS_MAX = 2_592_000_000
JOB_INTEGERS = {
    "due_at_ms": (0, TIME_MS_MAX),
    "priority": PRIORITY,
    "lease_ms": LEASE_MS,
    "run_max_ms": LEASE_MS,
    "result_ms": (0, RESULT_MS_MAX),
    "expires_at_ms": (0, TIME_MS_MAX),
}
"""From where to where, by their keys; of a job, and of its retry rule."""
RETRY_INTEGERS = {
    "limit": (0, 1_000),
    "delay_ms": (0, 86_400_000),
    "cap_ms": (0, 2_592_000_000),
    "jitter_percent": (0, 100),
}
GRACE_MS_MAX = 600_000
SILENCE_MS = (60_000, 3_600_000)
"""How long a subscribed connection may be silent: unless it has asked for more, and at the most."""
CONNECTION_JOBS_MAX = 1000
SUBSCRIPTIONS_MAX = 1000
WAIT_MS_MAX = 3_600_000
"""How long a long poll may wait."""
CONNECTION_WAITS_MAX = 1_000
WAITS_MAX = 20_000
"""Long polls, of a connection and of all."""
TAIL_BYTES_MAX = 64 * 1024
TAIL_CHUNKS_MAX = 1_000
"""What is kept of the data that a run tells while it goes on."""
TAKE_FUNCS_MAX = 100
RUNNING_MAX = (1, 1_000_000)
RATE_COUNT = (1, 1_000_000)
RATE_PER_MS = (1, 86_400_000)
QUEUE_MAX = (1, 1_000_000_000)
LOCKS_MAX = 8
"""Of a job."""
WEIGHT = (1, 1_000_000)
CAPACITY = (1, 1_000_000)
LOCKS_SET_MAX = 10_000
FUNCTIONS_SET_MAX = 10_000
"""Functions of which something is set."""
SCHEDULES_MAX = 10_000
SCHEDULE_NAME_BYTES_MAX = 200
"""What is left of a job's name holds the instant."""
SCHEDULE_JOB_BYTES_MAX = 16 * 1024
"""Schedules are kept in memory."""
BROADCAST_BYTES_MAX = 64 * 1024
"""Of a workload that goes to every connection at once."""
EVERY_MS = (1_000, 31_622_400_000)
JITTER_MS = (0, 86_400_000)
NEXT_TIMES_MAX = 100
KINDS_MAX = 64
