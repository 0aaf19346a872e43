"""Plots as inline SVG, drawn by hand: no script, no font, nothing fetched. Colours are the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressor.report.compare import Row, display, escape
from compressor.report.model import LayerError, LayerLatency, PassReport

__all__ = ["WIDTH", "error_by_layer", "latency_by_layer", "ratio_bar", "svg", "waterfall"]

WIDTH = 760
LABEL = 190  # left column of names
TOP = 24  # layers drawn; the rest are a sum
FLOOR = 1e-9  # errors below it are drawn as none


def ratio_bar(row: Row) -> str:
    """after / before as a bar on a scale of 0 to 1.5×, with a mark at 1×."""
    if row.ratio is None:
        return ""
    width, height, unit = 150, 14, 100.0
    length = min(max(row.ratio, 0.0), 1.5) * unit
    bar = f'<rect x="0" y="2" width="{length:.1f}" height="10" rx="2" class="{row.word or "same"}"/>'
    mark = f'<line x1="{unit}" x2="{unit}" y1="0" y2="{height}" class="mark"/>'
    return svg(width, height, bar + mark, f"{row.label}: {row.ratio:.2f} times the original", small=True)


def latency_by_layer(layers: Sequence[LayerLatency]) -> str:
    """Two bars a layer, before and after: the slowest in order of execution, the others as a sum in words."""
    if not layers:
        return ""
    slowest = sorted(layers, key=lambda entry: -max(entry.before or 0.0, entry.after or 0.0))[:TOP]
    named = [entry for entry in layers if entry in slowest]
    others = [entry for entry in layers if entry not in slowest]
    longest = max(max(entry.before or 0.0, entry.after or 0.0) for entry in named) or 1.0
    scale, step = (WIDTH - LABEL - 90) / longest, 30
    parts = [_layer_row(entry, index * step, scale) for index, entry in enumerate(named)]
    height = len(named) * step
    if others:
        first, last = (sum(getattr(entry, side) or 0.0 for entry in others) for side in ("before", "after"))
        text = f"{len(others)} faster layers together: {display(first, 'ms')} before, {display(last, 'ms')} after"
        parts.append(f'<text x="{LABEL}" y="{height + 16}" class="value">{text}</text>')
        height += 24
    return svg(WIDTH, height, "".join(parts), "Predicted time by layer, before and after")


def _layer_row(entry: LayerLatency, y: float, scale: float) -> str:
    parts = [_name(entry.layer, y + 17)]
    for value, kind, offset in ((entry.before, "before", 4.0), (entry.after, "after", 15.0)):
        length = (value or 0.0) * scale
        bar = f'<rect x="{LABEL}" y="{y + offset:.1f}" width="{length:.1f}" height="9" rx="1.5" class="{kind}"/>'
        text = display(value, "ms") if value is not None else "absent"
        label = f'<text x="{LABEL + length + 5:.1f}" y="{y + offset + 8:.1f}" class="value">{text}</text>'
        parts.append(bar + label)
    return f"<g><title>{escape(entry.layer)}</title>{''.join(parts)}</g>"


def error_by_layer(layers: Sequence[LayerError]) -> str:
    """One column a layer in order of execution, on a logarithmic scale."""
    finite = [entry.error for entry in layers if math.isfinite(entry.error) and entry.error > FLOOR]
    if not finite:
        return ""
    low, high = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)) - 1e-6)
    high = max(high, low + 1)
    height, left, bottom = 220.0, 52.0, 24.0
    unit = (height - bottom - 10) / (high - low)
    parts = []
    for power in range(low, high + 1):
        y = 10 + (high - power) * unit
        parts.append(f'<line x1="{left}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" class="value">1e{power}</text>')
    pitch = (WIDTH - left) / len(layers)
    for index, entry in enumerate(layers):
        length = _log_height(entry.error, low, high) * unit
        x, wide = left + index * pitch, max(min(pitch * 0.75, 22.0), 0.8)
        box = f'x="{x + (pitch - wide) / 2:.1f}" y="{height - bottom - length:.1f}" width="{wide:.1f}"'
        shown = f"{escape(entry.layer)}: {entry.error:.2e}"
        parts.append(f'<rect {box} height="{length:.1f}" class="after"><title>{shown}</title></rect>')
    parts.append(f'<text x="{left}" y="{height - 6}" class="value">first layer</text>')
    parts.append(f'<text x="{WIDTH}" y="{height - 6}" text-anchor="end" class="value">last layer</text>')
    return svg(WIDTH, height, "".join(parts), "Relative error added by layer")


def _log_height(error: float, low: int, high: int) -> float:
    if not math.isfinite(error):
        return float(high - low)
    return 0.0 if error <= FLOOR else min(max(math.log10(error) - low, 0.02), high - low)


def waterfall(passes: Sequence[PassReport], axis: str) -> str:
    """From the original to the result, one step a pass, reverted ones hollow; `axis` is "latency_ms" or "bytes"."""
    steps = [(done, getattr(done.before, axis), getattr(done.after, axis)) for done in passes]
    if not steps or any(before is None or after is None for _, before, after in steps):
        return ""
    kept = [after for done, _, after in steps if not done.reverted]
    first, last = steps[0][1], kept[-1] if kept else steps[0][1]
    columns = [("original", 0.0, first, "before", "")]
    for done, before, after in steps:
        kind = "reverted" if done.reverted else "better" if after <= before else "worse"
        columns.append((done.name, before, after, kind, done.reverted or ""))
    columns.append(("result", 0.0, last, "after", ""))
    return _columns(columns, "ms" if axis == "latency_ms" else "bytes")


def _columns(columns: Sequence[tuple[str, float, float, str, str]], unit: str) -> str:
    top, bottom = 20.0, 42.0 if any(kind == "reverted" for *_, kind, _ in columns) else 26.0
    height = 158.0 + bottom
    scale = (height - bottom - top) / (max(max(low, high) for _, low, high, _, _ in columns) or 1.0)
    width = min(WIDTH, 84 * len(columns))
    pitch = width / len(columns)
    parts = []
    for index, (name, start, end, kind, why) in enumerate(columns):
        x, wide, base = index * pitch + pitch * 0.15, pitch * 0.7, height - bottom
        upper, tall = base - max(start, end) * scale, max(abs(end - start) * scale, 1.5)
        box = f'x="{x:.1f}" y="{upper:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="2"'
        title = f"<title>{escape(name)}{': reverted, ' + escape(why) if why else ''}</title>"
        middle = x + wide / 2
        value = display(end, "ms" if unit == "ms" else "bytes")
        parts.append(f'<rect {box} class="{kind}">{title}</rect>')
        parts.append(_middle(middle, upper - 6, value, "value"))
        parts.append(_middle(middle, base + 16, _short(name, int(pitch / 7)), "name"))
        if kind == "reverted":
            parts.append(_middle(middle, base + 31, "reverted", "value"))
    parts.append(f'<line x1="0" x2="{width}" y1="{height - bottom}" y2="{height - bottom}" class="mark"/>')
    return svg(width, height, "".join(parts), "What each pass did, from the original to the result")


def _middle(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" class="{kind}">{escape(text)}</text>'


def _name(layer: str, y: float) -> str:
    return f'<text x="{LABEL - 8}" y="{y:.1f}" text-anchor="end" class="name">{escape(_short(layer, 27))}</text>'


def _short(text: str, limit: int) -> str:
    """The end of a long name, which tells layers apart."""
    return text if len(text) <= limit else f"…{text[-(limit - 1) :]}"


def svg(width: float, height: float, body: str, title: str, *, small: bool = False) -> str:
    """The picture around its parts; `title` is read out instead of it."""
    size = f' width="{width}" height="{height}"' if small else f' style="max-width:{width:.0f}px"'
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}{size}>{body}</svg>'
