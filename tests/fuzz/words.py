"""Words that mean something to the daemon, for those who make up messages."""

KEYS = [
    "func", "name", "workload", "due_ms", "delay_ms", "priority", "lease_ms", "retry", "keep", "limit", "backoff",
    "cap_ms", "jitter_percent", "outcome", "data", "reason", "submit", "state", "after", "client", "credit",
    "disconnect_grace_ms",
]  # fmt: skip
WORDS = ["f", "a", "done", "failed", "later", "waiting", "dead", "fixed", "exponential", "1-1-1", "9" * 300, ""]
