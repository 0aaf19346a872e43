"""How a bundle's single runs are spread: a histogram a bundle on one scale, with p50, p90 and p99 marked.

place of a time t = log(t / low) / log(high / low)        one interruption may take as long as fifty runs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compressor.report.compare import display, escape
from compressor.report.plots import WIDTH, svg

if TYPE_CHECKING:
    from compressor.devices.figures import Figures

__all__ = ["distribution", "standalone"]

BINS = 96
ROW = 92.0  # a bundle's height: its name, its bars, its marks
TALL = 46.0  # of the highest bar
STYLE = (
    "svg{background:#fff}text{fill:#1d2129;font:12px system-ui,sans-serif}text.value{fill:#5c6470;font-size:11px}"
    ".after{fill:#3366cc}.mark{stroke:#1d2129;stroke-width:1}.grid{stroke:#e2e4e8;stroke-width:1}"
)


def distribution(bundles: Sequence[Figures]) -> str:
    """The plot, in the page's colours. The scale ends a little after the slowest p99; what is beyond is counted."""
    low = min(each.min for each in bundles)
    high = max(each.p99 for each in bundles) * 1.05
    parts = [_row(each, index * ROW, low, high) for index, each in enumerate(bundles)]
    bottom = len(bundles) * ROW
    parts.append(f'<text x="0" y="{bottom + 14:.0f}" class="value">{display(low, "ms")}</text>')
    end = f'<text x="{WIDTH}" y="{bottom + 14:.0f}" text-anchor="end" class="value">{display(high, "ms")}</text>'
    return svg(WIDTH, bottom + 20, "".join([*parts, end]), "How long single runs took, a histogram a bundle")


def standalone(bundles: Sequence[Figures]) -> str:
    """The plot as an SVG file with colours of its own."""
    head, bracket, rest = distribution(bundles).partition(">")
    return f"{head}{bracket}<style>{STYLE}</style>{rest}\n"


def _row(figures: Figures, top: float, low: float, high: float) -> str:
    counts, beyond = _histogram(figures.times, low, high)
    base, pitch, most = top + ROW - 22, WIDTH / BINS, max(counts)
    parts = [f'<text x="0" y="{top + 14:.0f}" class="name">{escape(figures.name)}</text>']
    for index, count in enumerate(counts):
        if count:
            tall = max(count / most * TALL, 0.8)
            box = f'x="{index * pitch:.1f}" y="{base - tall:.1f}" width="{pitch * 0.9:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect {box} class="after"/>')
    parts.append(f'<line x1="0" x2="{WIDTH}" y1="{base:.1f}" y2="{base:.1f}" class="grid"/>')
    for name in ("p50", "p90", "p99"):
        x = _place(getattr(figures, name), low, high) * WIDTH
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base - TALL:.1f}" y2="{base + 4:.1f}" class="mark"/>')
    shown = ", ".join(f"{name} {display(getattr(figures, name), 'ms')}" for name in ("p50", "p90", "p99"))
    more = f", {beyond:.0f} runs beyond the scale" if beyond >= 0.5 else ""
    parts.append(f'<text x="{WIDTH}" y="{top + 14:.0f}" text-anchor="end" class="value">{shown}{more}</text>')
    return f"<g>{''.join(parts)}</g>"


def _histogram(times: Sequence[tuple[float, float]], low: float, high: float) -> tuple[list[float], float]:
    """Runs by bin, and those after the last."""
    counts, beyond = [0.0] * BINS, 0.0
    for time, weight in times:
        place = int(_place(time, low, high) * BINS)
        if place >= BINS:
            beyond += weight
        else:
            counts[place] += weight
    return counts, beyond


def _place(time: float, low: float, high: float) -> float:
    """From 0 at the scale's start to 1 at its end."""
    return math.log(max(time, low) / low) / math.log(high / low)
