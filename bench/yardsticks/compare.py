"""Our daemon and the yardsticks in turn: within a round each is given the same work, one after the other."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.ratios import Figures, Ratio, compared, flat, medians, verdict
from bench.yardsticks import Yardstick
from bench.yardsticks.kinds import OTHERS, OURS
from bench.yardsticks.process import which
from bench.yardsticks.rounds import ROUNDS, Round
from rig import machine


def installed() -> list[Yardstick]:
    """The other servers that this machine has; says which it has not."""
    found = []
    for each in OTHERS:
        if which(each.program) is None:
            print(f"{each.name} is left out: {each.program} is not installed (make setup)")
        else:
            found.append(each)
    return found


def beside(others: Sequence[Yardstick], folder: Path, repeat: int, only: str | None = None) -> Figures:
    """Ours as ``raw_*``, theirs under their names, and the ratios as ``vs_*``; of one round of work, or of each."""
    result: Figures = {}
    for work in ROUNDS:
        if only not in (None, work.__name__):
            continue
        able = [each for each in others if work.__name__ not in each.left_out]
        seen = in_turn(work, [OURS, *able], folder, repeat)
        print(f"{work.__name__}: {_medians_line(seen)}", flush=True)
        for name, rounds in seen.items():
            prefix = "raw" if name == OURS.name else name
            result |= {f"{prefix}_{key}": value for key, value in medians(rounds).items()}
        for each in able:
            ratios = compared(f"vs_{each.name}", seen[OURS.name], seen[each.name])
            show(ratios)
            result |= flat(ratios)
    return result


def in_turn(work: Round, servers: Sequence[Yardstick], folder: Path, repeat: int) -> dict[str, list[Figures]]:
    """The figures of each server, round by round. Every other round goes the other way round."""
    seen: dict[str, list[Figures]] = {each.name: [] for each in servers}
    for number in range(repeat):
        for each in servers if number % 2 == 0 else reversed(servers):
            with (
                tempfile.TemporaryDirectory(prefix=f"{each.name}-", dir=folder) as own,
                each.start(Path(own)) as server,
            ):
                seen[each.name].append(work(each, server))
    return seen


def show(ratios: dict[str, Ratio]) -> None:
    is_compiled = machine.is_compiled()
    for key, (median, low, high) in ratios.items():
        print(f"{key:34} {median:8.3f}  ({low:.3f} to {high:.3f})  {verdict(key, median, is_compiled)}".rstrip())


def _medians_line(seen: dict[str, list[Figures]]) -> str:
    return "; ".join(f"{name} {', '.join(_told(rounds))}" for name, rounds in seen.items())


def _told(rounds: Sequence[Figures]) -> Iterator[str]:
    for key, value in medians(rounds).items():
        yield f"{key} {value:,.2f}"
