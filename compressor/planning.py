"""The main job with budgets: plan, carry out, measure the real artifact, and plan again where it says otherwise.

    limits ─ plan ─ passes ─ select ─ artifact ─┬─ within all budgets: done
       ▲                                         │
       └── corrected by what was measured ◀──────┘      three times at most

Artifacts are measured on the board of `--device`, or here where this machine is the target. Where time has a budget
the original is measured first, and predictions are multiplied by what its own was off. What an artifact takes bends
the latency model (`plan/cuts.py`) before the next plan, whose limits are corrected by it (`attempts.py`). Of all
attempts the one that breaks budgets least is kept: there is always one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from compressor.accounting import power_of
from compressor.attempts import Attempt, corrected
from compressor.devices.local import Measurement
from compressor.gate import Budget, BudgetAxis, Gate, show
from compressor.graph.contract import Context
from compressor.judging import Artifact, Workshop
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline
from compressor.plan.parts import parts_of
from compressor.plan.planner import Plan, Wish
from compressor.plan.playoff import played_off
from compressor.plan.problem import Axis
from compressor.plan.realize import realize
from compressor.plan.reasons import with_reasons
from compressor.prepare import Prepared
from compressor.recovering import NONE, QUANTIZE, split_recovery, trained_as_rounded, with_recovery
from compressor.report.model import Report
from compressor.reporting import dry_report
from compressor.request import Request
from compressor.selecting import Selection, select
from compressor.starting import FOLD, Start, own_axis

__all__ = ["DAMAGE", "Planned", "dry_plan", "planned"]

CORRECTIONS = 3  # times that a plan is solved again because what was measured differs
DAMAGE = 0.5  # that a plan may do before recovery: beyond it little of the network is left
TRAINED = "300steps"  # of recovery, where --recover does not say


@dataclass(frozen=True)
class Planned:
    """The attempt that was kept, and what to say of the planning."""

    selection: Selection[Artifact]
    notes: tuple[str, ...]


def planned(
    begun: Start, request: Request, prepared: Prepared, pipeline: Pipeline, workshop: Workshop, gate: Gate
) -> Planned:  # fmt: skip
    """Plan, carry out and measure, until the budgets hold or nothing is left to correct."""
    attempts: list[Attempt] = []
    power = power_of(prepared.target, request.threads)
    watts = None if power is None else power.value
    limits: dict[Axis, float] = {"damage": DAMAGE, **begun.limits}
    for _ in range(1 + CORRECTIONS):
        wish = Wish(limits, request.solver)
        plan = begun.planner.plan(wish) if attempts else played_off(begun.planner, wish)
        if any(plan.best.specs == each.plan.best.specs for each in attempts):
            break
        specs = _specs(begun.fold, plan, request, prepared)
        stages = pipeline.run(prepared.program, specs)
        selection = select(prepared.program, stages, workshop, gate)
        attempts.append(_attempt(plan, selection, gate.budgets, workshop, watts, begun))
        if corrected(limits, attempts) is None:
            break
        limits, attempts = _learnt(limits, attempts, begun)
        limits = corrected(limits, attempts) or limits
    best = min(attempts, key=lambda attempt: attempt.rank)
    assert best.selection is not None
    return Planned(best.selection, tuple(_notes(best, attempts, begun)))


def dry_plan(begun: Start, request: Request, prepared: Prepared, context: Context) -> Report:
    """The plan with its predicted figures; nothing but it was made."""
    plan = played_off(begun.planner, Wish({"damage": DAMAGE, **begun.limits}, request.solver))
    folded, picks = begun.planner.program, plan.best.solution.picks
    specs, program = _specs(begun.fold, plan, request, prepared), realize(plan.tables, picks, folded, context).program
    attempt = Attempt(plan, None, {}, told=_told(plan, begun))
    report = dry_report(request, prepared, specs, context, program)
    return replace(report, notes=(*report.notes, *_notes(attempt, [attempt], begun)))


def _specs(fold: PassSpec, plan: Plan, request: Request, prepared: Prepared) -> list[PassSpec]:
    """The plan's passes; where there is something to learn from, recovery after structure goes, and after bits."""
    best = plan.best
    specs = [fold, *_merged(with_reasons(best.specs, best.solution.picks, plan.tables, plan.measured))]
    cut = any(spec.build().structural for spec in specs)
    budget = request.recover or (TRAINED if cut and prepared.training else NONE)
    before, after = split_recovery(budget, cut=cut, bits=any(spec.name == QUANTIZE for spec in specs))
    recovered = with_recovery(specs, before, teacher=False, has_data=bool(prepared.training))
    return [replace(trained_as_rounded(spec, after), chosen_by="planner") for spec in recovered]


def _merged(specs: Sequence[PassSpec]) -> Iterator[PassSpec]:
    """What only prepares with the fold that it is for, as the planner has carried it out."""
    for spec in specs:
        yield spec
        if spec.build().prepares:
            yield FOLD


def _attempt(
    plan: Plan, selection: Selection[Artifact], budgets: Sequence[Budget], workshop: Workshop, watts: float | None,
    begun: Start,
) -> Attempt:  # fmt: skip
    """The plan's artifact held to the budgets: by what was measured, where something tells times, else by predictions
    times what the original's was `off`."""
    kept, original = selection.kept, workshop.build(workshop.prepared.program)
    times = workshop.measured(original, kept)
    before, after = (
        _costs(a, times.get(n), workshop.pipeline.context, watts, begun.off) for n, a in (("0", original), ("1", kept))
    )
    passed: dict[Axis, float] = {}
    left = sum(after[each.axis] / before[each.axis] for each in budgets if each.least and each.axis in after)
    for budget in budgets:
        if budget.axis in after and not budget.least:
            share = after[budget.axis] / budget.limit(before[budget.axis]) - 1
            passed[budget.axis] = max(share, passed.get(budget.axis, share))
    over = {axis: share for axis, share in passed.items() if share > 0}
    timed = [share for axis, share in passed.items() if axis in ("latency", "energy")]
    allowed = 1.0 if selection.rejected is None else workshop.allowed(selection.rejected)
    held = workshop.held(kept, times.get("1"))
    lost = workshop.prepared.metric.drop(workshop.metric(original), workshop.metric(kept))
    taken = times["1"].p50 / times["0"].p50 if times else None
    spare, least = -max(timed, default=0.0), frozenset(own_axis(each.axis) for each in budgets if each.least)
    told = _told(plan, begun)
    return Attempt(plan, selection, over, allowed, held, spare, max(lost, 0.0), taken, least, left, told)


def _told(plan: Plan, begun: Start) -> tuple[float, float]:
    """Milliseconds of the original and of the plan."""
    return begun.factor * begun.planner.base.latency_ms, begun.factor * plan.best.parts.latency_ms


def _costs(
    artifact: Artifact, measured: Measurement | None, context: Context, watts: float | None, off: float
) -> dict[BudgetAxis, float]:
    """Milliseconds (predicted where they are not measured), bytes on disk and in memory, joules."""
    parts, estimate = parts_of(artifact.program, context), None
    if measured is None and context.latency is not None:
        estimate = context.latency.predict(artifact.program, context.target)
    found: dict[BudgetAxis, float] = {"size": artifact.bytes, "memory": parts.memory}
    if measured is not None or estimate is not None:
        found["latency"] = measured.p50 if measured is not None else off * estimate.latency_ms if estimate else 0.0
    if watts is not None and "latency" in found:
        found["energy"] = watts * 1e-3 * found["latency"]
    return found


def _learnt(
    limits: dict[Axis, float], attempts: list[Attempt], begun: Start
) -> tuple[dict[Axis, float], list[Attempt]]:  # fmt: skip
    """The limits and what was tried as the latency model has it that the latest artifact's time has bent."""
    latest = attempts[-1]
    if latest.share is None or latest.selection is None:
        return limits, attempts
    grown = begun.learn(latest.selection.kept.program, latest.share)
    limits = {axis: limit * (grown if axis == "latency" else 1.0) for axis, limit in limits.items()}
    return limits, [replace(each, plan=begun.planner.repriced(each.plan)) for each in attempts]


def _notes(best: Attempt, attempts: Sequence[Attempt], begun: Start) -> Iterator[str]:
    plan, built = best.plan, best.plan.best
    times = (show("latency", each) for each in best.told)
    sizes = (show("size", parts.bytes) for parts in (begun.planner.base, built.parts))
    yield (
        f"planned with the {plan.solver} solver ({plan.reason}): predicted {' to '.join(times)}, {' to '.join(sizes)}, "
        f"damage {built.raw:.3g} before recovery"
    )
    if begun.bent is not None:
        yield f"times are {begun.bent.source}"
    if begun.original is not None:
        predicted, measured = (show("latency", each) for each in begun.original)
        yield f"the original takes {measured} where {predicted} was predicted: what was planned is in its units"
    for number, each in enumerate(attempts, 1):
        if each.held is not None and len(attempts) > 1:
            yield f"plan {number}: {each.held}"
    if len(attempts) > 1:
        yield f"what was measured corrected the plan {len(attempts) - 1} times"
    for axis, over in best.short.items():
        if axis == "damage":
            continue
        yield f"no plan was found within the {axis} budget: the closest is predicted {over:.1%} over it"
    if begun.planner.measured.left:
        yield f"{len(begun.planner.measured.left)} sites were not weighed: --time was over"
    if begun.planner.unprobed:
        yield "what training takes back was not probed: --time was over"
