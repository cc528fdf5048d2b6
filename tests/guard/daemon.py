"""The real daemon, which makes every commit on its loop: ``python -m tests.guard.daemon``, with its options.

It moves a commit to a thread when it expects a slow one, and strace makes each one slow; what is counted must not hang
on that.
"""

from periodicd.__main__ import main
from periodicd.net import pace

if __name__ == "__main__":
    pace.OPS_MAX = pace.QUICK_US = 10**9
    main()
