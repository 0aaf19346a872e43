"""The page of a front: a dot a plan, time along and damage up, as large as its bytes; and the table beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compressor.report.compare import display, escape
from compressor.report.plots import WIDTH, svg

__all__ = ["Point", "page", "plot"]

HEIGHT, MARGIN = 320, 48
LARGEST = 14.0  # radius of the original's dot
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
td:last-child, th:last-child { text-align: left; } circle { fill: #2563eb88; stroke: #2563eb; }
line { stroke: #8888; } text { font-size: 12px; fill: currentColor; }
:root { color-scheme: light dark; }
"""


@dataclass(frozen=True)
class Point:
    """A plan and what it is predicted to cost; `shares` are of the original's time and bytes."""

    name: str
    latency_ms: float
    bytes: float
    damage: float
    shares: tuple[float, float]
    what: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def cells(self) -> list[str]:
        """As a line of a table."""
        time, size = (f"{share:.2f}×" for share in self.shares)
        damage = f"{self.damage:.2g}"
        return [display(self.latency_ms, "ms"), time, display(self.bytes, "bytes"), size, damage, self.what]


def page(title: str, points: Sequence[Point]) -> str:
    """The whole page; nothing is fetched."""
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in (point.name, *point.cells())) + "</tr>"
        for point in points
    )
    head = "".join(f"<th>{name}</th>" for name in ("plan", "latency", "", "size", "", "damage", "what"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>{plot(points)}<p>Predicted. Time along, damage before recovery up (the root of it), "
        f"a dot's area is its bytes.</p><table><tr>{head}</tr>{rows}</table></html>"
    )


def plot(points: Sequence[Point]) -> str:
    """The dots. Damage is drawn by its root: what matters lies near nothing."""
    wide = max((point.latency_ms for point in points), default=0.0) or 1.0
    tall = max((point.damage for point in points), default=0.0) ** 0.5 or 1.0
    large = max((point.bytes for point in points), default=0.0) or 1.0
    parts = [
        f'<line x1="{MARGIN}" y1="{HEIGHT - MARGIN}" x2="{WIDTH - 10}" y2="{HEIGHT - MARGIN}"/>',
        f'<line x1="{MARGIN}" y1="10" x2="{MARGIN}" y2="{HEIGHT - MARGIN}"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}">latency, to {display(wide, "ms")}</text>',
        f'<text x="4" y="20">{tall**2:.2g}</text>',
    ]
    for point in points:
        x = MARGIN + (WIDTH - MARGIN - 30) * point.latency_ms / wide
        y = HEIGHT - MARGIN - (HEIGHT - MARGIN - 30) * point.damage**0.5 / tall
        radius = max(LARGEST * (point.bytes / large) ** 0.5, 2.0)
        told = escape(f"{point.name}: {', '.join(point.cells())}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{told}</title></circle>')
    return svg(WIDTH, HEIGHT, "".join(parts), "Plans by predicted latency and damage")
