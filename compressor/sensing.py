"""`compress inspect --sensitivity`: what each number format in each layer does to the outputs, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.evaluated import Evaluated, evaluated
from compressor.graph.functional import functional_copy
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.candidates import Candidate, Candidates, find_candidates
from compressor.passes.quantizing.choosing.sensitivity import Sensitivity, measure_sensitivity, ranked
from compressor.passes.quantizing.choosing.slower import predict_saved
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.quant.blocks import BLOCK_SIZES
from compressor.report.compare import display, plain
from compressor.report.terminal import line, table

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.graph.contract import Context
    from compressor.graph.program import Program
    from compressor.prepare import Prepared

__all__ = ["Sensitivities", "inspect_sensitivity"]

SHOWN = 60  # rows of the table; --json has all


@dataclass(frozen=True)
class Sensitivities:
    """Every layer in every format, the most damaging first; `saved_ms` by layer and format, where it is known."""

    target: str
    rows: Sequence[Sensitivity]
    saved_ms: Mapping[tuple[str, str], float]
    samples: int
    metric: str | None
    drops: Mapping[tuple[str, str], float]

    def to_json(self) -> dict[str, Any]:
        """Errors and drops as shares, sizes in bytes, times in milliseconds; null is what is not known."""
        return {
            "target": self.target,
            "samples": self.samples,
            "error_of": "outputs" if self.samples else "weights",
            "metric": self.metric,
            "layers": [
                {
                    "layer": row.layer,
                    "format": row.format,
                    "setting": dict(row.candidate.setting),
                    "bytes": row.bytes,
                    "bytes_saved": row.saved,
                    "ms_saved": self.saved_ms.get(_key(row)),
                    "error": row.error,
                    "divergence": row.divergence,
                    "metric_drop": self.drops.get(_key(row)),
                }
                for row in self.rows
            ],
        }

    def render(self, console: Console) -> None:
        """One row a layer and format, readable at 80 columns."""
        headings = ["layer", "format", "saves", "ms saved", "error", *(["KL"] if self._divergent else [])]
        headings += [f"{self.metric} lost"] if self.metric else []
        rows = [self._row(row) for row in self.rows[:SHOWN]]
        console.print(table(headings, rows, right=tuple(range(2, len(headings)))))
        for text in self._remarks():
            console.print(line(text, console))

    @property
    def _divergent(self) -> bool:
        return any(row.divergence is not None for row in self.rows)

    def _row(self, row: Sensitivity) -> list[str]:
        saved = self.saved_ms.get(_key(row))
        cells = [
            plain(row.layer), row.candidate.label, display(row.saved, "bytes"),
            "–" if saved is None else f"{saved:.3g}", f"{row.error:.2%}",
        ]  # fmt: skip
        cells += [f"{row.divergence:.2g}"] if row.divergence is not None else ["–"] if self._divergent else []
        return cells + ([f"{self.drops[_key(row)]:+.4f}"] if self.metric else [])

    def _remarks(self) -> list[str]:
        over = f"error of the outputs, ‖y − ŷ‖ / ‖y‖, over {self.samples} samples, that layer alone in that format"
        weights = "without --data the error is that of the weights, and says nothing of how much a layer matters"
        found = [f"target {plain(self.target)}: {over if self.samples else weights}"]
        if len(self.rows) > SHOWN:
            found.append(f"the {SHOWN} most sensitive of {len(self.rows)}; --json has all")
        return found


def inspect_sensitivity(prepared: Prepared, context: Context) -> Sensitivities:
    """The table of the model once folded, which is how every pass list begins.

    Ranges come from the calibration data, errors from the evaluation data. Raises InputError as the passes do.
    """
    program, _ = functional_copy(Fold().run(prepared.program, context).program)
    candidates = _largest_blocks(find_candidates(program, context, Quantize().limits, BLOCK_SIZES, _plain))
    data = evaluated(program, prepared)
    found = measure_sensitivity(
        program, candidates.groups, candidates.options, data.batches, judge=data.judge, progress=context.progress
    )
    saved = _saved(program, context, candidates)
    return Sensitivities(context.target.name, ranked(found), saved, data.samples, data.metric, _drops(data, found))


def _plain(format: str) -> Rounding:
    """Without data: what a solver makes up for later is not the format's doing."""
    return Rounding("nearest" if format == "int8" else "mse")


def _largest_blocks(candidates: Candidates) -> Candidates:
    """Of each format of blocks the largest that the layer can have."""
    largest = {
        (each.layer, each.format): each
        for options in candidates.options.values()
        for each in sorted(options, key=lambda each: int(each.setting.get("block", 0)))
    }
    return candidates.only(lambda each: largest[each.layer, each.format] is each)


def _drops(data: Evaluated, found: Sequence[Sensitivity]) -> dict[tuple[str, str], float]:
    before = {each.layer: each.metric for each in found if each.format == "fp32"}
    drops: dict[tuple[str, str], float] = {}
    for each in found:
        exact = before[each.layer]
        if each.metric is not None and exact is not None:
            drops[_key(each)] = data.drop(exact, each.metric)
    return drops


def _saved(program: Program, context: Context, candidates: Candidates) -> dict[tuple[str, str], float]:
    """Predicted with all layers in the format at once: integer neighbours chain, as they would."""
    every = [each for options in candidates.options.values() for each in options]
    saved: dict[tuple[str, str], float] = {}
    for format in dict.fromkeys(each.format for each in every if each.format not in ("fp32", "fp16")):
        chosen = [each for each in every if each.format == format]
        settings = {name: setting for each in chosen for name, setting in each.settings.items()}
        if format == "int8":
            static = candidates.integer
            settings |= {name: static.static[name] for name in static.glue if name in static.static}
        found = predict_saved(program, context, settings)
        saved |= {(each.layer, format): _sum(found, each) for each in chosen if each.layer in found}
    return saved


def _sum(found: Mapping[str, float], each: Candidate) -> float:
    return sum(found.get(name, 0.0) for name in each.settings)


def _key(row: Sensitivity) -> tuple[str, str]:
    return row.layer, row.format
