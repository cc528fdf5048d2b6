"""The rules. Each part owns its state; ``Scheduler`` is the face. No I/O, no clock, no randomness, no await."""

from periodicd.scheduler.numbers import Chance
from periodicd.scheduler.scheduler import Scheduler
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.step import Said

__all__ = ["Chance", "Said", "Scheduler", "Settings"]
