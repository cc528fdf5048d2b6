"""Series over time as one SVG: a small chart below the other, no more than a page of documentation needs. Text only."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 110
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 18
STYLE = (
    "text{font:12px sans-serif;fill:#555}.title{fill:#222;font-weight:bold}"
    "polyline{fill:none;stroke-width:1.2}.axis{stroke:#bbb;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#aaa}.title{fill:#eee}}"
)
COLOURS = ("#1f77b4", "#d62728")


class Chart(NamedTuple):
    """One picture of the page: up to two lines over the same minutes."""

    title: str
    lines: Sequence[tuple[str, Sequence[float]]]
    """What each is called, and its values; all are as long as the minutes."""


def svg(minutes: Sequence[float], charts: Sequence[Chart]) -> str:
    """The whole file. Each chart's axis goes from 0 to a little above its largest value."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(charts)}" role="img">',
        f"<style>{STYLE}</style>",
    ]
    for number, chart in enumerate(charts):
        parts += [f'<g transform="translate(0 {number * HEIGHT})">', *_chart(minutes, chart), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _chart(minutes: Sequence[float], chart: Chart) -> list[str]:
    top = max((max(values) for _, values in chart.lines), default=0.0) * 1.1 or 1.0
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    names = " · ".join(name for name, _ in chart.lines if name)
    parts = [
        f'<text class="title" x="{LEFT}" y="16">{escape(chart.title)}{escape(f" ({names})" if names else "")}</text>',
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{floor}H{right}"/>',
        f'<text x="{LEFT - 6}" y="{TOP + 8}" text-anchor="end">{_shown(top)}</text>',
        f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 4}">{minutes[0]:.0f} min</text>',
        f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{minutes[-1]:.0f} min</text>',
    ]
    span = minutes[-1] - minutes[0] or 1.0
    for (_, values), colour in zip(chart.lines, COLOURS, strict=False):
        points = " ".join(
            f"{LEFT + (at - minutes[0]) / span * (right - LEFT):.1f},{floor - value / top * (floor - TOP):.1f}"
            for at, value in zip(minutes, values, strict=True)
        )
        parts.append(f'<polyline stroke="{colour}" points="{points}"/>')
    return parts


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
