"""What `compress bench` found: for the terminal, and as one HTML file. Bundles are columns, figures rows.

All text passes through `plain` or `escape`: bundles may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from compressor.report.compare import display, escape, plain
from compressor.report.distribution import distribution
from compressor.report.energy import break_even_text, carbon_text, making_text
from compressor.report.html import POLICY
from compressor.report.terminal import line, table

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.devices.bench import Bench
    from compressor.devices.energy import InferenceEnergy
    from compressor.devices.figures import Comparison, Energy, Figures

__all__ = ["bench_html", "render_bench"]

EMULATED = "verified; time means nothing under emulation"
_HEADINGS = ("", "million instructions an inference", "× the first's instructions")


def render_bench(found: Bench, console: Console) -> None:
    """Print what was found, 80 columns wide where the console is."""
    console.print(line(_title(found), console, "bold"))
    if found.figures:
        headings = ["", *(plain(each.name) for each in found.figures)]
        rows = [[plain(cell) for cell in row] for row in _rows(found)]
        for columns in _columns(headings, rows, console.width):
            part = [[row[0], *(row[index] for index in columns)] for row in rows]
            console.print(table(["", *(headings[i] for i in columns)], part, right=range(1, len(columns) + 1)))
    else:
        for text in _verified(found):
            console.print(line(text, console))
        if found.instructions:
            console.print(table(_HEADINGS, _counts(found), right=(1, 2)))
    for text in _cautions(found):
        console.print(line(text, console, "yellow"))
    for term, text in _facts(found):
        console.print(line(f"{term}: {text}", console, "dim"))


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[list[int]]:
    """The columns of numbers that fit beside the labels, then the next ones below."""
    widths = [max(len(row[index]) for row in (headings, *rows)) + 1 for index in range(len(headings))]
    part: list[int] = []
    for index in range(1, len(headings)):
        if part and widths[0] + sum(widths[each] for each in (*part, index)) > width:
            yield part
            part = []
        part.append(index)
    yield part


def bench_html(found: Bench) -> str:
    """The whole page: the table, and how single runs are spread. It needs nothing else and loads nothing."""
    style = files("compressor.report").joinpath("report.css").read_text(encoding="utf-8")
    head = "".join(f'<th scope="col" class="number">{escape(each.name)}</th>' for each in found.figures)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for label, *cells in _rows(found)
    )
    cautions = "".join(f'<p class="caution">{escape(text)}</p>' for text in _cautions(found))
    facts = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in _facts(found))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_title(found))}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(_title(found))}</h1></header>\n"
        f'<section>{cautions}<div class="scroll"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>\n"
        f"<section><h2>Single runs</h2><figure><figcaption>Runs by how long they took, one logarithmic scale for all; "
        f"lines at p50, p90 and p99</figcaption>{distribution(found.figures)}</figure></section>\n"
        f"<section><h2>How it was run</h2><dl>{facts}</dl></section>\n</body>\n</html>\n"
    )


def _title(found: Bench) -> str:
    about = found.description
    return f"{found.url}: {', '.join(part for part in (about.cpu, f'{about.cores} cores', about.arch) if part)}"


def _rows(found: Bench) -> Iterator[list[str]]:
    """A label, then a cell for each bundle; figures that nobody has are left out."""
    versus = {each.name: each for each in found.comparisons}
    known = list(dict.fromkeys(each.energy.label for each in found.cycles if each.energy is not None))
    of = "an inference" if _unit(found) == "inference" else "a token"
    how = f" ({known[0]})" if len(known) == 1 else ""  # beside each figure where a sensor was lost on the way
    for label, cells in (
        ("first token", [_answered(each, "first_ms") for each in found.figures]),
        ("a token, as it answers", [_answered(each, "token_ms") for each in found.figures]),
        ("latency p50", [display(each.p50, "ms") for each in found.figures]),
        ("p90", [display(each.p90, "ms") for each in found.figures]),
        ("p99", [display(each.p99, "ms") for each in found.figures]),
        ("fastest", [display(each.min, "ms") for each in found.figures]),
        ("first run", [display(each.first_ms, "ms") for each in found.figures]),
        ("load", [display(each.load_ms, "ms") for each in found.figures]),
        ("throughput", [f"{display(each.throughput, 'count')}/s" for each in found.figures]),
        ("peak memory", [display(each.peak_memory_bytes, "bytes") for each in found.figures]),
        ("before the model", [display(each.runtime_bytes, "bytes") for each in found.figures]),
        (f"energy {of}{how}", [_inference(each.energy, labelled=not how) for each in found.cycles]),
        ("above idle", [_above_idle(each.energy) for each in found.cycles]),
        (f"kWh of 1,000{how}", [_of_1000(each.energy, "kwh_per_1000") for each in found.cycles]),
        (f"g CO2e of 1,000{how}", [_of_1000(each.energy, "co2e_g_per_1000") for each in found.cycles]),
        ("making it", [display(each.making.joules if each.making else None, "joules") for each in found.cycles]),
        ("power, idle power", [_power(each.energy) for each in found.figures]),
        ("runs", [str(each.runs) for each in found.figures]),
        ("golden error", [display(max(each.errors.values(), default=0.0), "error") for each in found.figures]),
        (f"× {found.figures[0].name}" if found.figures else "", [_ratio(versus.get(e.name)) for e in found.figures]),
    ):
        if any(cell not in ("–", "") for cell in cells):
            yield [label, *cells]


def _unit(found: Bench) -> str:
    """What a run computes: of decoders with a cache one token."""
    return "token" if found.figures and all(each.answer is not None for each in found.figures) else "inference"


def _answered(figures: Figures, name: str) -> str:
    return display(None if figures.answer is None else getattr(figures.answer, name), "ms")


def _ratio(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return f"{comparison.ratio:.3g} [{comparison.low:.3g}, {comparison.high:.3g}] {comparison.word}"


def _inference(energy: InferenceEnergy | None, *, labelled: bool) -> str:
    if energy is None:
        return "–"
    ends = (energy.joules.low, energy.joules.value, energy.joules.high)
    low, value, high = (display(joules, "joules") for joules in ends)
    text = value if low == high else f"{value} [{low}, {high}]"
    return f"{text} {energy.label}" if labelled else text


def _above_idle(energy: InferenceEnergy | None) -> str:
    return display(None if energy is None else energy.above_idle_joules, "joules")


def _of_1000(energy: InferenceEnergy | None, name: str) -> str:
    return "–" if energy is None else f"{getattr(energy, name):.3g}"


def _power(energy: Energy | None) -> str:
    if energy is None:
        return "–"
    idle = "–" if energy.idle_watts is None else f"{energy.idle_watts:.3g}"
    return f"{energy.watts:.3g}, {idle} W"


def _verified(found: Bench) -> Iterator[str]:
    for name, errors in found.errors.items():
        worst = max(errors.values(), default=0.0)
        yield f"{name}: {EMULATED}; {_outputs(len(errors))} with PyTorch, the worst within {worst:.1e}"


def _outputs(count: int) -> str:
    return "1 output agrees" if count == 1 else f"{count} outputs agree"


def _counts(found: Bench) -> Iterator[list[str]]:
    """Of each bundle; the first is what the others are compared with."""
    ratios = found.instruction_ratios if len(found.instructions) > 1 else {}
    for index, (name, count) in enumerate(found.instructions.items()):
        yield [plain(name), f"{count / 1e6:,.4g}", f"{ratios[name]:.3g}" if index else ""]


def _cautions(found: Bench) -> Iterator[str]:
    yield from (f"! throttled: {reason}" for reason in found.throttled)
    yield from (f"! unstable: {reason}" for reason in found.unstable)
    yield from (f"! {note}" for note in found.notes)


def _facts(found: Bench) -> Iterator[tuple[str, str]]:
    if found.figures:
        yield "run", f"threads {found.threads}, batch {found.batch}"
        yield "on", ", ".join(dict.fromkeys(name for each in found.figures for name in each.providers))
    elif found.instructions:
        yield "instructions", f"1 thread, batch {found.batch}, with the call from Python; they are no time"
    for each in found.figures:
        if (answer := each.answer) is not None:
            counted = f"{answer.read} tokens read at once before the first one, {answer.steps} behind it"
            yield each.name, f"{counted}, {answer.runs} answers; latency is of one token behind as many kept"
    yield "versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())
    yield from _energy(found)
    if found.figures and len(found.states) > 1:
        yield from _conditions(found)


def _energy(found: Bench) -> Iterator[tuple[str, str]]:
    """How energies are known, what making each bundle took, and from when on each beats the first."""
    sources = dict.fromkeys(each.energy.source for each in found.cycles if each.energy is not None)
    if found.figures:
        sensors = any(each.energy is not None for each in found.figures)
        texts = [*([] if sensors else ["no sensor"]), *sources]
        yield "energy", "; ".join([*texts, *([] if sources else ["no power declared (--power)"])])
    if sources:
        yield "carbon", carbon_text(found.carbon)
    for each in found.cycles:
        if each.making is not None:
            yield f"making {each.name}", making_text(each.making)
    for each in found.cycles:
        if each.break_even is not None:
            text = break_even_text(each.break_even, unit=_unit(found))
            yield f"{each.name} with its making, less energy than {found.cycles[0].name}", text


def _conditions(found: Bench) -> Iterator[tuple[str, str]]:
    """Before and after, of what the board tells."""
    first, last = found.states[0], found.states[-1]
    before, after = first.get("temperatures", {}), last.get("temperatures", {})
    zones = [f"{name} {before[name]:.0f} → {after[name]:.0f} °C" for name in before if name in after]
    if zones:
        yield "temperature", ", ".join(zones)
    governors = dict.fromkeys(str(core.get("governor", "?")) for core in last.get("clocks", {}).values())
    if governors:
        yield "governor", ", ".join(governors)
    clocks = [clock for clock in found.clocks if clock is not None]
    if clocks:
        yield "clock while it ran", f"{min(clocks):.0f} to {max(clocks):.0f} MHz"
    if "power_mode" in last:
        yield "power mode", str(last["power_mode"])
