"""A report as one HTML file that needs nothing else: no script, no font, no address; its policy forbids loading any.

Every name in it comes from the model's file, the target or the user, so all text passes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files

from compressor.report.compare import Row, conflicts, display, doubt, escape, rows, skip_groups
from compressor.report.energy import energy_lines
from compressor.report.model import PassReport, Report
from compressor.report.plots import error_by_layer, latency_by_layer, ratio_bar, waterfall

__all__ = ["POLICY", "to_html"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
OUTCOMES = {
    "compressed": "compressed",
    "unchanged": "unchanged",
    "best-kept": "best that holds kept",
    "original-kept": "original kept",
}
MEANING = {
    "synthetic": "on made-up inputs, not your data: it says little about real accuracy",
    "estimated": "from a declared power, not measured: `compress bench` measures where the board has a sensor",
}


def to_html(report: Report) -> str:
    """The whole page as text, in UTF-8 when written."""
    style = files("compressor.report").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{escape(report.model)} for {escape(report.target)}"
    parts = [_header(report), _tiles(report), _figures(report), _passes(report), _layers(report), _about(report)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    verdict = report.verdict
    reason = f"<p>{escape(verdict.reason)}</p>" if verdict.reason else ""
    return (
        f'<header><h1>{escape(report.model)} <span class="to">for</span> {escape(report.target)}</h1>'
        f'<p><span class="badge {verdict.outcome}">{OUTCOMES[verdict.outcome]}</span> '
        f'<span class="soft">objective: {escape(report.objective)}</span></p>{reason}</header>'
    )


def _tiles(report: Report) -> str:
    """The four figures most people come for."""
    found = {row.key: row for row in rows(report)}
    latency = "predicted" if found["measured"].ratio is None else "measured"
    tiles = [found[key] for key in (latency, "file_bytes", "peak_activation_bytes", "metric")]
    cards = [
        f'<div class="tile"><span>{escape(row.label)} {_label(row)}</span><b>{_headline(row)}</b>'
        f"<span>{display(row.before, row.unit)} → {display(row.after, row.unit)}</span></div>"
        for row in tiles
        if row.after is not None
    ]
    return f'<section class="tiles">{"".join(cards)}</section>'


def _headline(row: Row) -> str:
    return display(row.after, row.unit) if row.unit == "metric" or row.ratio is None else f"{row.ratio:.2f}×"


def _figures(report: Report) -> str:
    lines = [
        f'<tr><th scope="row">{escape(row.label)} {_label(row)}</th><td class="number">{display(row.before, row.unit)}'
        f'</td><td class="number">{display(row.after, row.unit)}</td><td class="number">{_ratio(row)}</td>'
        f'<td>{ratio_bar(row)}</td><td class="word {row.word}">{row.word}</td></tr>'
        for row in rows(report)
    ]
    headings = ["", "before", "after", "ratio", "0 to 1.5×", ""]
    head = "".join(f'<th scope="col"{_number(1 <= i <= 3)}>{text}</th>' for i, text in enumerate(headings))
    notes = {row.note for row in rows(report) if row.note and row.after is not None}
    meanings = MEANING | {"uncalibrated": f"predicted by {escape(report.predicted_from or 'a roofline')}"}
    meaning = "".join(f"<p>{_tag(note)} {meanings[note]}.</p>" for note in sorted(notes, reverse=True))
    cautions = "".join(f'<p class="caution">{escape(text)}.</p>' for text in conflicts(report))
    if report.calibrated and report.predicted_from:
        meaning += f"<p>Latency is predicted by {escape(report.predicted_from)}.</p>"
    meaning += f"<p>Latency, predicted: {escape(doubt(report))}.</p>" if doubt(report) else ""
    cautions += f"<p>The latency model, {escape(report.past)}.</p>" if report.past else ""
    energy = "".join(f"<p>{escape(text)}.</p>" for text in energy_lines(report))
    return (
        f'<section><h2>Before and after</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{meaning}{energy}{cautions}</section>"
    )


def _passes(report: Report) -> str:
    if not report.passes:
        return ""
    steps = [("latency_ms", "Predicted latency", "" if report.calibrated else _tag("uncalibrated"))]
    steps.append(("bytes", "Weights, unique bytes", ""))
    plots = "".join(
        f"<figure><figcaption>{name}, pass by pass {label}</figcaption>{plot}</figure>"
        for axis, name, label in steps
        if (plot := waterfall(report.passes, axis))
    )
    bodies = "".join(map(_pass, report.passes))
    return f'<section><h2>Passes</h2><div class="pair">{plots}</div>{bodies}</section>'


def _pass(done: PassReport) -> str:
    options = ", ".join(f"{key}={value}" for key, value in done.options.items())
    state = f"{done.state}, {done.chosen_by}, {done.seconds:.1f} s"
    parts = [
        f"<h3>{escape(done.name)} <code>{escape(options)}</code> "
        f'<span class="state">{"reverted; had " if done.reverted else ""}{escape(state)}</span></h3>'
    ]
    if done.reverted:
        parts.append(f'<p class="caution">Reverted: {escape(done.reverted)}</p>')
    if done.warning:
        parts.append(f'<p class="caution">{escape(done.warning)}</p>')
    parts += [f"<p>{escape(note)}</p>" for note in done.notes]
    for text, sites in skip_groups(done):
        parts.append(_fold(text, sites) if sites else f"<p>{escape(text)}</p>")
    if done.changed:
        parts.append(_fold(f"changed {len(done.changed)}", done.changed))
    return f'<div class="pass">{"".join(parts)}</div>'


def _fold(summary: str, items: Iterable[str]) -> str:
    body = ", ".join(f"<code>{escape(item)}</code>" for item in items)
    return f"<details><summary>{escape(summary)}</summary><p>{body}</p></details>"


def _layers(report: Report) -> str:
    parts = []
    if plot := latency_by_layer(report.layer_latency):
        key = '<span class="key before">before</span><span class="key after">after</span>'
        label = "" if report.calibrated else _tag("uncalibrated")
        parts.append(f"<figure><figcaption>Predicted time {label} {key}</figcaption>{plot}</figure>")
    if plot := error_by_layer(report.layers):
        label = _tag("synthetic") if report.synthetic else ""
        caption = f"Error added, relative to the original's output, in order of execution {label}"
        parts.append(f"<figure><figcaption>{caption}</figcaption>{plot}</figure>{_layer_table(report)}")
    return f"<section><h2>Layers</h2>{''.join(parts)}</section>" if parts else ""


def _layer_table(report: Report) -> str:
    worst = sorted(report.layers, key=lambda entry: -entry.error)
    lines = "".join(
        f'<tr><th scope="row">{escape(entry.layer)}</th><td class="number">{entry.error:.2e}</td></tr>'
        for entry in worst
    )
    return (
        f"<details><summary>All {len(worst)} layers, most error first</summary>"
        f'<div class="scroll"><table><thead><tr><th scope="col">layer</th><th scope="col" class="number">error</th>'
        f"</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _about(report: Report) -> str:
    lines = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in _facts(report))
    return f"<section><h2>How it was run</h2><dl>{lines}</dl></section>"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    threads = "" if report.threads is None else f", {report.threads} threads"
    yield "run", f"batch {report.batch}{threads}, seed {report.seed}"
    if report.placement:
        yield "placement", ", ".join(f"{name}: {count} nodes" for name, count in report.placement.items())
    if (agreement := report.agreement) is not None:
        why = f": {agreement.reason}" if agreement.reason else ""
        text = f"{agreement.error:.1e} relative (tolerance {agreement.tolerance:.0e}{why})"
        yield f"{agreement.runtime} against PyTorch", text
    if report.library is not None:
        yield "library", str(report.library)
    if report.decoding is not None:
        yield "generation", str(report.decoding)
        yield "timed", report.decoding.timed
    for name, figures in (("before", report.before), ("after", report.after)):
        if figures.latency_detail:
            detail = ", ".join(f"{key} {value:.4g}" for key, value in figures.latency_detail.items())
            where = f" on {report.measured_on}" if report.measured_on else ""
            yield f"measured {name}{where}, ms", detail
    for note in report.notes:
        yield "note", note
    yield "versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}×"


def _label(row: Row) -> str:
    return _tag(row.note) if row.note and (row.before is not None or row.after is not None) else ""


def _tag(note: str) -> str:
    return f'<span class="label">{escape(note)}</span>'


def _number(yes: bool) -> str:
    return ' class="number"' if yes else ""
