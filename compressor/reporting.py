"""Fills in the report: figures of original and result, layer by layer, and what was missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from compressor.accounting import Account, pays_off, power_of
from compressor.devices.energy import Making
from compressor.devices.latency.learning import prediction, remember
from compressor.devices.local import Measurement
from compressor.gate import BudgetAxis, Gate, show
from compressor.graph.concrete import READING, concrete_values
from compressor.graph.contract import Context
from compressor.graph.cost import Estimate
from compressor.graph.program import Program
from compressor.held import Held
from compressor.judging import Artifact, Workshop
from compressor.passlist import PassSpec
from compressor.pipeline import Stage
from compressor.prepare import Prepared
from compressor.report.layers import layer_errors
from compressor.report.model import (
    Agreement,
    Cost,
    Decoding,
    Figures,
    Latency,
    LayerLatency,
    Library,
    PassReport,
    Report,
    Verdict,
)
from compressor.request import Request
from compressor.selecting import Selection
from compressor.targets.tvm import TVM
from compressor.verdict import verdict
from compressor.versions import versions

__all__ = ["Findings", "dry_report", "find", "full_report", "missed", "predicted"]


@dataclass(frozen=True)
class Findings:
    """Figures and estimates of original and result, the budgets that the result misses, and what was measured of both
    in turn, where they are two; what a decoder generates; machine code, where there is some; the result's prediction
    held to what was measured, and where that was."""

    before: Figures
    after: Figures
    estimates: tuple[Estimate | None, Estimate | None]
    missed: tuple[str, ...]
    measured: tuple[Measurement, Measurement] | None = None
    decoding: Decoding | None = None
    library: Library | None = None
    held: Held | None = None
    measured_on: str = ""
    notes: tuple[str, ...] = ()


def find(
    request: Request, prepared: Prepared, workshop: Workshop, kept: Artifact, context: Context, gate: Gate
) -> Findings:
    """Everything that is predicted or measured about both programs."""
    original = workshop.build(prepared.program)
    first, last = (_predict(a.program, prepared, request, context) for a in (original, kept))
    measured, target = workshop.measured(original, kept), prepared.target
    account = _account(request, prepared)
    before = _figures(workshop, original, first, measured.get("0"), account)
    after = _figures(workshop, kept, last, measured.get("1"), account)
    decoding = workshop.decoding(kept)
    if decoding is not None:
        read = workshop.timing.first_token([original, kept])
        before, after = (
            replace(figures, first_token_ms=_first_token(artifact.program, prepared, request, context, read.get(name)))
            for figures, artifact, name in ((before, original, "0"), (after, kept, "1"))
        )
    both = (measured["0"], measured["1"]) if measured else None
    library = workshop.library(kept)
    timing = workshop.timing
    comparable = target.runtime.name != TVM and timing.teaches  # what is predicted is of ONNX Runtime
    learns = comparable and timing.steady([original, kept])
    for artifact, estimate, found in zip((original, kept), (first, last), both or (), strict=False):
        if estimate is not None and learns and artifact.operators is None:
            remember(
                prediction(estimate, artifact.program.hash(), found.threads, request.batch),
                target,
                found.p50,
                timing.device,
            )
    budgets = tuple(missed(gate, before, after))
    held = workshop.held(kept, measured.get("1")) if comparable else None
    where, notes = timing.where if measured else "", timing.notes([original, kept])
    return Findings(before, after, (first, last), budgets, both, decoding, library, held, where, notes)


def full_report(
    request: Request, prepared: Prepared, selection: Selection[Artifact], findings: Findings,
    notes: tuple[str, ...], making: Making,
) -> Report:  # fmt: skip
    """The report of a finished run."""
    kept = selection.kept
    before, after = findings.before.energy, findings.after.energy
    changed = kept.program is not prepared.program
    return Report(
        verdict=verdict(selection, findings.missed),
        before=findings.before,
        after=findings.after,
        **_prediction(findings.estimates[1]),
        passes=tuple(stage.report for stage in selection.stages),
        layers=tuple(layer_errors(prepared.program, kept.program, prepared.evaluation[0], _rescaled(selection.stages))),
        layer_latency=_by_layer(*findings.estimates),
        placement=kept.placement.counts,
        agreement=_agreement(kept),
        decoding=findings.decoding,
        library=findings.library,
        measured_on=findings.measured_on,
        notes=notes,
        making=making,
        break_even=pays_off(making, before, after, findings.measured) if changed else None,
        **_common(request, prepared),
    )


def _agreement(kept: Artifact) -> Agreement | None:
    """None where nothing ran it."""
    if (kept.elsewhere or kept.trial is not None) and not kept.agreement.samples:
        return None
    runtime, found = _ran_in(kept) if kept.trial is None else TVM, kept.agreement
    return Agreement(runtime, found.error, found.tolerance, found.reason)


def _ran_in(artifact: Artifact) -> str:
    """What ran a model here."""
    return "onnxruntime" if artifact.operators is None else f"onnxruntime with {artifact.operators.name}"


def _rescaled(stages: Iterable[Stage]) -> dict[str, Tensor]:
    """What brings layers' values back to the original's units: what all stages that are kept say, multiplied."""
    found: dict[str, Tensor] = {}
    for stage in stages:
        for layer, factors in stage.rescaled.items() if stage.kept else ():
            found[layer] = factors * found[layer] if layer in found else factors
    return found


def dry_report(
    request: Request, prepared: Prepared, specs: list[PassSpec], context: Context, planned: Program | None = None
) -> Report:  # fmt: skip
    """What each pass could change, and the model as it is; of a plan what it changes, and what it makes of the model
    before anything is trained."""
    program, estimate = prepared.program, _predict(prepared.program, prepared, request, context)
    cost = Cost(estimate.latency_ms if estimate else None, program.unique_bytes())
    figures = _program_figures(program, estimate)
    figures = replace(figures, energy=_account(request, prepared).energy(figures.latency_ms))
    passes = []
    for spec in specs:
        offered = spec.build(tuple(request.keep)).options if planned is None else None
        sites = dict.fromkeys(spec.sites if offered is None else (o.site for o in offered(program, context)))
        passes.append(PassReport(spec.name, cost, cost, dict(spec.options), spec.chosen_by, tuple(sites), dry=True))
    would = Verdict("unchanged", "dry run: nothing was run; sites are those that a pass may change in the original")
    after = figures
    if planned is not None:
        would = Verdict("unchanged", "dry run: the plan was made and nothing was written; figures are predicted")
        after = _program_figures(planned, _predict(planned, prepared, request, context))
        after = replace(after, energy=_account(request, prepared).energy(after.latency_ms))
    return Report(
        verdict=would, before=figures, after=after, passes=tuple(passes), notes=prepared.notes,
        **_prediction(estimate), **_common(request, prepared),
    )  # fmt: skip


def _prediction(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {"calibrated": estimate.calibrated, "predicted_from": estimate.source, "past": estimate.past}


def _common(request: Request, prepared: Prepared) -> dict[str, Any]:
    return {
        "model": prepared.name,
        "target": prepared.target.name,
        "objective": prepared.target.objective,
        "synthetic": prepared.synthetic,
        "metric": prepared.metric.name,
        "metric_better": "higher" if prepared.metric.higher_is_better else "lower",
        "seed": prepared.seed,
        "batch": request.batch,
        "threads": request.threads or prepared.target.threads,
        "versions": versions(),
        "carbon": request.carbon_intensity(),
    }


def _account(request: Request, prepared: Prepared) -> Account:
    """An inference is a sample: a model whose batch is fixed takes as many as it was made for."""
    timed = prepared.timed_batch(request.batch)
    rows = next((tensor.shape[0] for tensor in timed.values() if tensor.dim()), 1)
    return Account(power_of(prepared.target, request.threads), rows, request.carbon_intensity())


def _predict(program: Program, prepared: Prepared, request: Request, context: Context) -> Estimate | None:
    if context.latency is None:
        return None
    return context.latency.predict(program, prepared.target, batch=request.batch, threads=request.threads)


def _first_token(
    program: Program, prepared: Prepared, request: Request, context: Context, measured: float | None
) -> Latency:  # fmt: skip
    """What reading a text takes, predicted for 128 tokens and measured."""
    estimate = None
    if context.latency is not None:
        values = concrete_values(program, request.batch, READING)
        estimate = context.latency.predict(
            program, prepared.target, batch=request.batch, threads=request.threads, values=values
        )
    return predicted(estimate, measured)


def predicted(estimate: Estimate | None, measured: float | None = None) -> Latency:
    """What the latency model said, with its interval, and what was measured."""
    if estimate is None:
        return Latency(None, measured)
    return Latency(estimate.latency_ms, measured, estimate.interval_ms)


def _program_figures(program: Program, estimate: Estimate | None) -> Figures:
    return Figures(
        parameters=program.parameters(),
        unique_bytes=program.unique_bytes(),
        macs=estimate.macs if estimate else None,
        peak_activation_bytes=estimate.peak_activation_bytes if estimate else None,
        latency_ms=predicted(estimate),
    )


def _figures(
    workshop: Workshop, artifact: Artifact, estimate: Estimate | None, measured: Measurement | None, account: Account
) -> Figures:
    latency = predicted(estimate, measured.p50 if measured else None)
    return replace(
        _program_figures(artifact.program, estimate),
        file_bytes=artifact.bytes,
        load_ms=measured.load_ms if measured else workshop.timing.load_ms(artifact),
        latency_ms=latency,
        energy=account.energy(latency, measured),
        latency_detail=measured.detail() if measured else None,
        metric=workshop.metric(artifact),
        output_error=workshop.output_error(artifact),
    )


def missed(gate: Gate, before: Figures, after: Figures) -> Iterator[str]:
    """The budgets that the result breaks, and by how much."""
    for budget in gate.budgets:
        first, last = (_axis(figures, budget.axis) for figures in (before, after))
        if first is not None and last is not None and last > budget.limit(first):
            limit = show(budget.axis, budget.limit(first))
            yield f"{budget.axis} budget {budget.text} missed: {show(budget.axis, last)}, the limit is {limit}"


def _axis(figures: Figures, axis: BudgetAxis) -> float | None:
    """Measured where it was measured, else predicted; bytes on disk for size, weights and activations for memory,
    joules of a sample."""
    if axis == "size":
        return figures.file_bytes
    if axis == "memory":
        return None if figures.peak_activation_bytes is None else figures.unique_bytes + figures.peak_activation_bytes
    if axis == "energy":
        return None if figures.energy is None else figures.energy.joules.value
    latency = figures.latency_ms
    return latency.predicted if latency.measured is None else latency.measured


def _by_layer(before: Estimate | None, after: Estimate | None) -> tuple[LayerLatency, ...]:
    """Predicted milliseconds by layer on both sides, in the original's order."""
    sums: list[dict[str, float]] = [{}, {}]
    for side, estimate in zip(sums, (before, after), strict=True):
        for kernel in estimate.kernels if estimate else ():
            side[kernel.layer] = side.get(kernel.layer, 0.0) + kernel.latency_ms
    return tuple(LayerLatency(layer, sums[0].get(layer), sums[1].get(layer)) for layer in {**sums[0], **sums[1]})
