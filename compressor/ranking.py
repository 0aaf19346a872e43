"""`compress inspect --ranks`: what low rank does to the outputs, one matrix at a time, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.evaluated import evaluated
from compressor.graph.functional import functional_copy
from compressor.passes.factorizing.probe import SHARES, RankDamage, measure_ranks, rank_choices, ranked
from compressor.passes.factorizing.settings import choose_method
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.times import predict_times
from compressor.passes.fold import Fold
from compressor.report.compare import display, plain
from compressor.report.terminal import line, table

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.graph.contract import Context, Skip
    from compressor.graph.program import Program
    from compressor.prepare import Prepared

__all__ = ["Ranks", "inspect_ranks"]

SHOWN = 60  # rows of the table; --json has all


@dataclass(frozen=True)
class Ranks:
    """Every matrix at every rank, the most damaging first; milliseconds saved and metric lost by site and rank."""

    target: str
    method: str
    rows: Sequence[RankDamage]
    skipped: Sequence[Skip]
    saved_ms: Mapping[tuple[str, int], float]
    samples: int
    metric: str | None
    drops: Mapping[tuple[str, int], float]

    def to_json(self) -> dict[str, Any]:
        """Errors and drops as shares, sizes in bytes, times in milliseconds; null is what is not known."""
        return {
            "target": self.target,
            "method": self.method,
            "samples": self.samples,
            "error_of": "outputs" if self.samples else "weights",
            "metric": self.metric,
            "matrices": [
                {
                    "matrix": row.site,
                    "outputs": row.shape.outputs,
                    "inputs": row.shape.inputs,
                    "full_rank": row.shape.full,
                    "rank": row.rank,
                    "share": row.share,
                    "setting": dict(row.choice.setting()),
                    "bytes": row.bytes,
                    "bytes_saved": row.saved,
                    "ms_saved": self.saved_ms.get(_key(row)),
                    "error": row.damage.error,
                    "divergence": row.damage.divergence,
                    "metric_drop": self.drops.get(_key(row)),
                }
                for row in self.rows
            ],
            "skipped": [{"matrix": skip.site, "reason": skip.reason} for skip in self.skipped],
        }

    def render(self, console: Console) -> None:
        """One row a matrix and rank, readable at 80 columns."""
        headings = ["matrix", "rank", "saves", "ms saved", "error", *(["KL"] if self._divergent else [])]
        headings += [f"{self.metric} lost"] if self.metric else []
        rows = [self._row(row) for row in self.rows[:SHOWN]]
        console.print(table(headings, rows, right=tuple(range(1, len(headings)))))
        for text in self._remarks():
            console.print(line(text, console))

    @property
    def _divergent(self) -> bool:
        return any(row.damage.divergence is not None for row in self.rows)

    def _row(self, row: RankDamage) -> list[str]:
        saved, divergence = self.saved_ms.get(_key(row)), row.damage.divergence
        cells = [
            plain(row.site), f"{row.rank} of {row.shape.full}", _bytes(row.saved),
            "–" if saved is None else f"{saved:.3g}", f"{row.damage.error:.2%}",
        ]  # fmt: skip
        cells += [f"{divergence:.2g}"] if divergence is not None else ["–"] if self._divergent else []
        return cells + ([f"{self.drops[_key(row)]:+.4f}"] if self.metric else [])

    def _remarks(self) -> list[str]:
        over = f"error of the outputs, ‖y − ŷ‖ / ‖y‖, over {self.samples} samples, that matrix alone cut to that rank"
        weights = "without --data the error is that of the weights, and says nothing of how much a layer matters"
        found = [
            f"target {plain(self.target)}: {over if self.samples else weights}",
            "saves: what two layers of that rank take less than the one, in bytes and predicted time; below zero: more",
        ]
        if len(self.rows) > SHOWN:
            found.append(f"the {SHOWN} most sensitive of {len(self.rows)}; --json has all")
        for reason in dict.fromkeys(skip.reason for skip in self.skipped):
            sites = [plain(skip.site) for skip in self.skipped if skip.reason == reason]
            more = f" and {len(sites) - 3} more" if len(sites) > 3 else ""
            found.append(f"left out: {', '.join(sites[:3])}{more}: {plain(reason)}")
        return found


def inspect_ranks(prepared: Prepared, context: Context) -> Ranks:
    """The table of the model once folded, which is how every pass list begins.

    With data, cuts are those that lose the least on the calibration data, and errors come from the evaluation data.
    """
    program, _ = functional_copy(Fold().run(prepared.program, context).program)
    sites, skipped = find_sites(program)
    data, method = evaluated(program, prepared), choose_method("auto", context)
    found = measure_ranks(
        program, sites, data.batches, method=method, calibration=context.calibration, judge=data.judge,
        progress=context.progress,
    )  # fmt: skip
    drops = {}
    if data.judge is not None:
        exact = data.judge([list(program.run(batch).values()) for batch in data.batches])
        drops = {_key(row): data.drop(exact, row.metric) for row in found if row.metric is not None}
    saved = _saved(program, sites, method, context)
    return Ranks(context.target.name, method, ranked(found), skipped, saved, data.samples, data.metric, drops)


def _saved(program: Program, sites: Sequence[Site], method: str, context: Context) -> dict[tuple[str, int], float]:
    """Predicted with all matrices at the same share of their ranks."""
    saved: dict[tuple[str, int], float] = {}
    for share in SHARES:
        choices = {site.name: rank_choices(site, [share], method)[share] for site in sites}
        times = predict_times(program, choices, context)
        for name, choice in choices.items():
            if name in times.before and name in times.after:
                saved[name, choice.rank] = times.before[name] - times.after[name]
    return saved


def _bytes(count: int) -> str:
    return f"−{display(-count, 'bytes')}" if count < 0 else display(count, "bytes")


def _key(row: RankDamage) -> tuple[str, int]:
    return row.site, row.rank
