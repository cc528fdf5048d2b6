"""The ways in which the image workers say no, apart from what the system itself raises.

An `OSError` (disk full, no such file yet) is neither: it passes as it is, and the job is tried again by its retry rule.
"""


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key, what is wrong and what to do."""


class Unavailable(Exception):
    """What the configuration names does not answer now; the configuration may be right. A supervisor starts again."""


class Refused(Exception):
    """The input will never do, so trying again is pointless: the job is dead at once, with this reason."""
