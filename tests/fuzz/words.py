"""Words that mean something to the daemon, for those who make up messages."""

from periodicd.protocol import requests

KEYS = sorted(
    {
        *requests._JOB_KEYS, *requests._RETRY_KEYS, *requests._OUTCOME_KEYS, *requests._HELLO_KEYS,
        *requests._LISTING_KEYS, *requests._STATUS_KEYS, "id", "own", "keep",
    }
)  # fmt: skip
WORDS = [
    "f", "a", "done", "failed", "later", "waiting", "parked", "dead", "fixed", "exponential", "keep_live", "refuse",
    "1-1-1", "1-2-1-00", "j1", "9" * 300, "",
]  # fmt: skip
