"""A report for the terminal: before and after side by side, then what each pass did. Words carry what colour shows.

Names come from the model's file, so nothing in them is read as markup or sent to the terminal as a control code.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from compressor.report.compare import SKIPPED, Row, conflicts, display, doubt, plain, rows, skip_groups
from compressor.report.energy import energy_lines
from compressor.report.model import PassReport, Report

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["line", "render", "table"]

REASONS = 3  # of a pass's reasons for skipping, those of the most bytes are shown
WORST = 5  # layers shown by error
STYLES = {"better": "green", "worse": "red", "same": "dim", "": "dim"}
OUTCOMES = {
    "compressed": "compressed",
    "unchanged": "unchanged",
    "best-kept": "BEST THAT HOLDS KEPT",
    "original-kept": "ORIGINAL KEPT",
}


def render(report: Report, console: Console) -> None:
    """Print a report, 80 columns wide where the console is."""
    verdict = f"{OUTCOMES[report.verdict.outcome]}{': ' if report.verdict.reason else ''}{report.verdict.reason}"
    console.print(line(f"{report.model} for {report.target}, objective {report.objective}", console, "bold"))
    console.print(line(verdict, console, "bold red" if report.verdict.outcome.endswith("-kept") else "bold"))
    console.print(_figures(report))
    for text in _cautions(report):
        console.print(line(text, console))
    for done in report.passes:
        for text, style in _pass(done):
            console.print(line(text, console, style))
    for text in _details(report):
        console.print(line(text, console, "dim"))


def table(headings: Sequence[str], body: Iterable[Sequence[str | Text]], right: Iterable[int] = ()) -> Table:
    """A light table of plain cells; `right` are the columns of numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="bold")
    numbers = set(right)
    for index, heading in enumerate(headings):
        made.add_column(
            Text(heading), justify="right" if index in numbers else "left", overflow="fold", no_wrap=index in numbers
        )
    for cells in body:
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return made


def line(text: str, console: Console, style: str = "") -> Text:
    """One paragraph of plain text, its later lines indented."""
    return Text(textwrap.fill(plain(text), console.width, subsequent_indent="    "), style=style)


def _figures(report: Report) -> Table:
    return table(["", "before", "after", "ratio", ""], (_cells(row) for row in rows(report)), right=(1, 2, 3))


def _cells(row: Row) -> list[str | Text]:
    label = f"{row.label} ({row.note})" if row.note else row.label
    shown = "" if row.ratio is None else f"{row.ratio:.2f}×"
    style = STYLES[row.word]
    return [
        plain(label),
        display(row.before, row.unit),
        display(row.after, row.unit),
        Text(shown, style),
        Text(row.word, style),
    ]


def _cautions(report: Report) -> Iterator[str]:
    """What to hold against the figures just above."""
    yield from (f"! {sentence}" for sentence in conflicts(report))
    if not report.calibrated:
        yield f"uncalibrated: predicted by {report.predicted_from or 'a roofline'}"
    elif report.predicted_from:
        yield f"predicted by {report.predicted_from}"
    if doubt(report):
        yield doubt(report)
    if report.past:
        yield f"the latency model, {report.past}"
    if report.synthetic:
        yield "synthetic: on made-up inputs, not your data (give --data); it says little about real accuracy"
    yield from energy_lines(report)
    yield from (f"note: {note}" for note in report.notes)


def _pass(done: PassReport) -> Iterator[tuple[str, str]]:
    options = ", ".join(f"{key}={value}" for key, value in done.options.items())
    what = f"{done.name} ({options})" if options else done.name
    state = "reverted" if done.reverted else done.state
    yield f"{what}, {done.chosen_by}: {state}, {done.seconds:.1f} s", "bold"
    if done.reverted:
        yield f"  reverted (had {done.state}): {done.reverted}", "yellow"
    if done.warning:
        yield f"  warning: {done.warning}", "yellow"
    yield f"  {_change(done)}", ""
    yield from ((f"  note: {note}", "") for note in done.notes)
    groups = skip_groups(done)
    for text, sites in groups[:REASONS]:
        more = f" and {len(sites) - 2} more" if len(sites) > 2 else ""
        yield f"  {text}" + (f" ({', '.join(sites[:2])}{more})" if sites else ""), ""
    rest = groups[REASONS:]
    if rest and all(text.startswith(SKIPPED) for text, _ in rest):
        count = sum(len(sites) for _, sites in rest)
        reasons = "another reason" if len(rest) == 1 else f"{len(rest)} other reasons"
        yield f"  {SKIPPED} {count} for {reasons} (see the report)", ""
    elif rest:
        yield f"  and {len(rest)} more note{'s' if len(rest) > 1 else ''} (see the report)", ""


def _change(done: PassReport) -> str:
    latency = f"{display(done.before.latency_ms, 'ms')} → {display(done.after.latency_ms, 'ms')} predicted"
    return f"{latency}, {display(done.before.bytes, 'bytes')} → {display(done.after.bytes, 'bytes')}"


def _details(report: Report) -> Iterator[str]:
    worst = sorted(report.layers, key=lambda layer: -layer.error)[:WORST]
    if worst and worst[0].error > 0:
        yield "most error added: " + ", ".join(f"{entry.layer} {entry.error:.1e}" for entry in worst)
    if report.placement:
        yield "runs on: " + ", ".join(f"{provider} {count} nodes" for provider, count in report.placement.items())
    if (agreement := report.agreement) is not None:
        why = f": {agreement.reason}" if agreement.reason else ""
        allowed = f"(tolerance {agreement.tolerance:.0e}{why})"
        yield f"{agreement.runtime} agrees with PyTorch to {agreement.error:.1e} {allowed}"
    if report.library is not None:
        yield str(report.library)
    if report.decoding is not None:
        yield str(report.decoding)
        yield report.decoding.timed
    for name, figures in (("before", report.before), ("after", report.after)):
        if figures.latency_detail:
            detail = ", ".join(f"{key} {value:.4g}" for key, value in figures.latency_detail.items())
            where = f" on {report.measured_on}" if report.measured_on else ""
            yield f"measured {name}{where} (ms): {detail}"
    threads = "" if report.threads is None else f", {report.threads} threads"
    yield f"batch {report.batch}{threads}, seed {report.seed}"
