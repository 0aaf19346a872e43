"""Relative changes, in one place: `ratio = after / before`, and where two figures of one report disagree.

Dehghani, Arnab, Beyer, Vaswani, Tay: The Efficiency Misnomer (2021). Parameters, MACs, bytes and latency are
different costs, and a method can improve one while it worsens another; so all are shown, and conflicts are named.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from compressor.report.model import PassReport, Report, SkippedSite

__all__ = [
    "NOTHING", "SAME", "SKIPPED", "Row", "Unit", "conflicts", "display", "doubt", "escape", "plain", "ratio", "rows",
    "skip_groups", "why_nothing",
]  # fmt: skip

Unit = Literal["count", "bytes", "ms", "joules", "metric", "error"]
SKIPPED = "skipped"
NOTHING = "changed nothing"  # the warning of a pass of which there is nothing else to say
SAME = 0.01  # relative; a smaller change is shown as none
FELL = 0.05  # relative; a larger fall of one figure sets an expectation of the others


@dataclass(frozen=True)
class Row:
    """One figure before and after. `note` says what to hold against it ("uncalibrated", "synthetic").

    Errors have no ratio: the original's is rounding, so any other is thousands of times that.
    """

    key: str
    label: str
    unit: Unit
    before: float | None
    after: float | None
    better: Literal["lower", "higher"] = "lower"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.unit == "error" else ratio(self.before, self.after)

    @property
    def word(self) -> str:
        """`better`, `worse`, `same`, or nothing where it cannot be told."""
        if self.before is None or self.after is None or self.unit == "error":
            return ""
        if abs(self.after - self.before) <= SAME * abs(self.before):
            return "same"
        return "better" if (self.after < self.before) == (self.better == "lower") else "worse"


def ratio(before: float | None, after: float | None) -> float | None:
    """after / before, or None where one is unknown or the division says nothing."""
    return None if before is None or after is None or before == 0 else after / before


def rows(report: Report) -> tuple[Row, ...]:
    """Every figure of the report, always in the same order, known or not."""
    before, after = report.before, report.after
    uncalibrated = "" if report.calibrated else "uncalibrated"
    synthetic = "synthetic" if report.synthetic else ""

    def row(key: str, label: str, unit: Unit) -> Row:
        return Row(key, label, unit, getattr(before, key), getattr(after, key))

    first, last, better = before.latency_ms, after.latency_ms, report.metric_better
    unit = "" if report.decoding is None else " a token"
    return (
        row("parameters", "parameters", "count"),
        row("unique_bytes", "weights, unique bytes", "bytes"),
        row("file_bytes", "file", "bytes"),
        row("macs", "MACs", "count"),
        row("peak_activation_bytes", "peak activation memory", "bytes"),
        row("load_ms", "load time", "ms"),
        Row("predicted", f"latency{unit}, predicted", "ms", first.predicted, last.predicted, note=uncalibrated),
        Row("measured", f"latency{unit}, measured", "ms", first.measured, last.measured),
        *_first_token(report, uncalibrated),
        _energy(report),
        Row("metric", report.metric or "metric", "metric", before.metric, after.metric, better, synthetic),
        Row("output_error", "output error", "error", before.output_error, after.output_error, note=synthetic),
    )


def _first_token(report: Report, note: str) -> tuple[Row, ...]:
    """Of a decoder, what passes before the first token of an answer."""
    before, after = report.before.first_token_ms, report.after.first_token_ms
    if before is None or after is None:
        return ()
    return (
        Row("first_predicted", "first token, predicted", "ms", before.predicted, after.predicted, note=note),
        Row("first_measured", "first token, measured", "ms", before.measured, after.measured),
    )


def _energy(report: Report) -> Row:
    before, after = (
        None if each is None else each.joules.value for each in (report.before.energy, report.after.energy)
    )
    known = report.after.energy or report.before.energy
    estimated = known is not None and not known.measured
    of = "an inference" if report.decoding is None else "a token"
    return Row("energy", f"energy {of}", "joules", before, after, note="estimated" if estimated else "")


def doubt(report: Report) -> str:
    """Between which ends the true times of what is predicted are, of nine networks in ten; empty where no interval is
    stated."""
    shown = [
        f"{display(low, 'ms')} to {display(high, 'ms')} where {display(each.predicted, 'ms')} is predicted"
        for each in dict.fromkeys((report.before.latency_ms, report.after.latency_ms))
        if each.interval is not None
        for low, high in [each.interval]
    ]
    return f"nine of ten networks take {', '.join(shown)}" if shown else ""


def conflicts(report: Report) -> tuple[str, ...]:
    """A sentence for each cost that did not fall although others did, and for a prediction that measuring refutes."""
    ratios = {row.key: row.ratio for row in rows(report)}
    names = {row.key: row.label for row in rows(report)} | {
        "unique_bytes": "unique bytes", "file_bytes": "the file",
        "predicted": "predicted latency", "measured": "measured latency",
    }  # fmt: skip
    latency = "predicted" if ratios["measured"] is None else "measured"
    stays, rises = 1 - SAME, 1 + SAME  # what contradicts the fall of another: to stay, or only to rise
    expected = [
        (("parameters", "unique_bytes", "macs"), latency, stays),
        (("predicted",) if latency == "measured" else (), "measured", stays),
        (("measured",), "predicted", rises),
        (("parameters", "unique_bytes"), "file_bytes", stays),
        ((latency,), "file_bytes", rises),
        (("file_bytes", latency), "peak_activation_bytes", rises),
    ]
    found: list[str] = []
    for sources, outcome, bound in expected:
        result = ratios[outcome]
        fell = [f"{names[key]} ({ratios[key]:.2f}×)" for key in sources if (ratios[key] or 1.0) <= 1 - FELL]
        if result is not None and fell and result >= bound:
            verb = "rose" if result > rises else "did not change"
            found.append(f"{_join(fell)} fell, but {names[outcome]} {verb} ({result:.2f}×)")
    return tuple(found)


def skip_groups(done: PassReport) -> list[tuple[str, list[str]]]:
    """What is said of which sites: "note: …" of the pass as a whole; "skipped 4: …" of those that stayed as they were;
    "note on 4: …" of those that were changed otherwise than asked. What is said of the most bytes comes first."""
    return [
        (f"{kind}: {reason}", []) if kind == "note" else (f"{kind} {len(sites)}: {reason}", sites)
        for kind, reason, sites in _reasons(done)
    ]


def why_nothing(done: PassReport) -> str:
    """Why a pass changed nothing: where it was made milder for the metric's sake, that; then what decides, which is
    what it says as a whole, or why the most bytes stay as they are."""
    eased = "" if done.warning in (None, NOTHING) else f"{done.warning}: "
    kind, reason, sites = next(iter(_reasons(done)), ("note", "it found nothing to do", []))
    more = f" and {len(sites) - 1} more" if len(sites) > 1 else ""
    return f"{eased}{reason}" + (f" ({sites[0]}{more})" if kind != "note" else "")


def _reasons(done: PassReport) -> list[tuple[str, str, list[str]]]:
    """(kind, reason, sites), in the order in which they are to be read; the heaviest site first."""
    groups: dict[tuple[str, str], list[SkippedSite]] = {}
    for skip in done.skipped:
        kind = "note" if skip.whole else SKIPPED if done.declined(skip) else "note on"
        groups.setdefault((kind, skip.reason), []).append(skip)
    order = ("note", SKIPPED, "note on")
    ranked = sorted(
        groups.items(), key=lambda item: (order.index(item[0][0]), -sum(s.bytes for s in item[1]), -len(item[1]))
    )
    return [
        (kind, reason, [skip.site for skip in sorted(skips, key=lambda skip: -skip.bytes)])
        for (kind, reason), skips in ranked
    ]


def display(value: float | None, unit: Unit) -> str:
    """A figure with its unit, to three or four digits; a dash where it is unknown."""
    if value is None:
        return "–"
    if unit == "bytes":
        return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"))
    if unit == "count":
        return _scaled(value, 1000, ("", "k", "M", "G", "T"))
    if unit == "ms":
        return _duration(value)
    if unit == "joules":
        return _joules(value)
    return f"{value:.2e}" if unit == "error" else f"{value:.4g}"


def plain(text: str) -> str:
    """Text without control characters or halves of characters: a layer's name may hold an escape sequence."""
    return "".join(c if c.isprintable() else "?" for c in text)


def escape(text: str) -> str:
    """Text for HTML, in elements and in quoted attributes."""
    return html.escape(plain(text))


def _duration(ms: float) -> str:
    if 0 < ms < 0.1:
        return f"{ms * 1e3:.3g} µs"
    return f"{ms:.3g} ms" if ms < 1e3 else f"{ms / 1e3:.3g} s"


def _joules(value: float) -> str:
    for unit, factor in (("J", 1.0), ("mJ", 1e3), ("µJ", 1e6)):
        if value * factor >= 0.9995 or unit == "µJ":
            break
    scaled = value * factor
    return f"{scaled:.3g} {unit}" if scaled < 1000 else _scaled(value, 1000, ("J", "kJ", "MJ", "GJ"))


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    """1234567 → 1.23 M: three digits or all of them below the first step."""
    index = 0
    while abs(value) >= step * 0.9995 and index < len(units) - 1:
        value, index = value / step, index + 1
    number = f"{value:.0f}" if index == 0 or abs(value) >= 99.95 else f"{value:.3g}"
    return f"{number} {units[index]}".rstrip()


def _join(words: Iterable[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
