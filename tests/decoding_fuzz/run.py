"""Many pictures, one after the other, and how they ended: by format, with each finding in a file of its own."""

import logging
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from tests.decoding_fuzz.corpus import Corpus
from tests.decoding_fuzz.mutations import mutated
from tests.decoding_fuzz.trial import Broken, Outcome, Trial

_FILES_MAX = 20
"""Of one kind of finding."""
_TOLD_EVERY_S = 60.0
_SLOW = ("limit of CPU time", "limit of time")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What came of them all."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By media type and how it ended."""
    faults: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    most_of_reserved: float = 0.0
    seconds: float = 0.0

    def add(self, kind: str, outcome: Outcome) -> None:
        self.ended[kind, outcome.ended] += 1
        if outcome.fault:
            self.faults[outcome.fault] += 1

    def lines(self) -> list[str]:
        """A table, a row for each format."""
        columns = sorted({ended for _, ended in self.ended})
        rows = [["", "inputs", *columns]]
        for kind in sorted({kind for kind, _ in self.ended}):
            counts = [self.ended[kind, ended] for ended in columns]
            rows.append([kind, *(f"{count:,}" for count in (sum(counts), *counts))])
        totals = [sum(self.ended[key] for key in self.ended if key[1] == ended) for ended in columns]
        rows.append(["all", *(f"{count:,}" for count in (sum(totals), *totals))])
        return [
            *("| " + " | ".join(row) + " |" for row in rows),
            f"in {self.seconds:.0f} s; a child took {self.most_of_reserved:.0%} of what was reserved at the most",
            *(f"{count} x {fault}" for fault, count in self.faults.most_common()),
        ]


async def run(corpus: Corpus, seed: int, findings: Path, *, seconds: float = inf, inputs: float = inf) -> Tally:
    """So many pictures, or for so long. The one of a number is the same each time, with the same corpus."""
    tally = Tally()
    begun_s = told_s = time.monotonic()
    number = 0
    trial = Trial()
    with trial:
        while tally.seconds < seconds and number < inputs:
            kind, content = mutated(corpus, random.Random(f"{seed} {number}"))
            outcome = await trial.outcome(content)
            tally.add(kind, outcome)
            tally.most_of_reserved = trial.most_of_reserved
            if outcome.fault or outcome.ended in _SLOW:
                _keep(findings, tally, f"{seed}-{number}", content, outcome)
            if time.monotonic() > told_s + _TOLD_EVERY_S:
                told_s = time.monotonic()
                _log.info("%s", "\n".join(tally.lines()))
            number += 1
            tally.seconds = time.monotonic() - begun_s
        try:
            trial.close()
        except Broken as broken:
            tally.add("at the end", Outcome("fault", *broken.args))
            _log.info("%s: %s", *broken.args)
    return tally


def _keep(findings: Path, tally: Tally, name: str, content: bytes, outcome: Outcome) -> None:
    what = outcome.fault or outcome.ended
    tally.kept[what] += 1
    if tally.kept[what] > _FILES_MAX:
        return
    words = "-".join(re.findall(r"\w+", what))
    path = findings / f"{words[:60]}-{name}"
    path.write_bytes(content)
    _log.info("%s: %s %s", path, what, outcome.detail)


async def again(content: bytes) -> Outcome:
    """How this picture ends, in a child of its own."""
    with Trial() as trial:
        return await trial.outcome(content)
