"""The main job with budgets: plan, carry out, measure the real artifact, and plan again where it says otherwise.

    limits ─ plan ─ passes ─ select ─ artifact ─┬─ within all budgets: done
       ▲                                         │
       └── corrected by what was measured ◀──────┘      three times at most

Artifacts are measured on the board of `--device`, or here where this machine is the target. Where time has a budget
the original is measured first, and predictions are multiplied by what its own was off. What an artifact takes bends
the latency model (`plan/cuts.py`) before the next plan. An axis whose measured cost is over its budget gets a limit
that is as much lower as the prediction was too low. A plan that keeps its budgets and leaves some of the time gets a
limit of time as much higher: less damage will do. Where an earlier plan was over the budget, and this one leaves some
of it, the limit is where the line through both meets the budget: p₁ + (p₂ − p₁) · (1 − m₁) / (m₂ − m₁), p predicted
and m measured, by the budget. Where the metric fell too far, the damage allowed falls as much below that of the plan;
where it did not, and the damage allowed was what kept the budgets from being met, it rises; once both were seen, it
is the geometric mean of the nearest two. Of all attempts the one that breaks budgets least is kept, and of those that
keep them the one whose artifact loses least of the metric: there is always one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compressor.accounting import power_of
from compressor.devices.local import Measurement
from compressor.gate import Budget, BudgetAxis, Gate, show
from compressor.graph.contract import Context
from compressor.held import Held
from compressor.judging import Artifact, Workshop
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline
from compressor.plan.parts import parts_of
from compressor.plan.planner import UNIT, Built, Plan, Wish
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

SPARE = 0.1  # of the time that a budget allows, left over: less is no other plan
CORRECTIONS = 3  # times that a plan is solved again because what was measured differs
DAMAGE = 0.5  # that a plan may do before recovery: beyond it little of the network is left
LEAST, MOST = 0.05, 0.7  # of a plan's damage, that the next may do where the metric fell too far
TRAINED = "300steps"  # of recovery, where --recover does not say
WIDER, NEAR = 3.0, 1.2  # times the damage that was allowed, where the metric bore it; less more is no other plan
MARGIN = 0.01  # of a limit that is left when it is corrected


@dataclass(frozen=True)
class Attempt:
    """A plan, what was made of it, and by what share that breaks which budgets. `held` is its predicted time beside the
    measured one, `spare` the share of its time that the tightest budget of time leaves over, `lost` the share of the
    metric that the artifact falls by."""

    plan: Plan
    selection: Selection[Artifact] | None  # None of a dry run
    overruns: Mapping[Axis, float]
    allowed: float = 1.0  # of the metric's fall with everything that was planned, where that was too far
    held: Held | None = None
    spare: float = 0.0
    lost: float = 0.0
    share: float | None = None  # of the original's time, measured beside it

    @property
    def fell(self) -> bool:
        """Whether the metric fell too far with everything that was planned."""
        return self.selection is not None and self.selection.rejected is not None

    @property
    def short(self) -> dict[Axis, float]:
        """What the plan was predicted to be over its limits by, where no measurement has refuted that."""
        kept = self.held is not None and not self.overruns
        return {axis: over for axis, over in self.plan.best.overruns.items() if not (kept and axis == "latency")}

    @property
    def rank(self) -> tuple[float, bool, float]:
        """Less is better. What the metric lost stands for the damage that was thought to be left."""
        best = self.plan.best
        return sum(self.overruns.values()), self.fell, best.objective + (self.lost - best.damage) / UNIT


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
        attempts.append(_attempt(plan, selection, gate.budgets, workshop, watts, begun.off))
        if _corrected(limits, attempts) is None:
            break
        limits, attempts = _learnt(limits, attempts, begun)
        limits = _corrected(limits, attempts) or limits
    best = min(attempts, key=lambda attempt: attempt.rank)
    assert best.selection is not None
    return Planned(best.selection, tuple(_notes(best, attempts, begun)))


def dry_plan(begun: Start, request: Request, prepared: Prepared, context: Context) -> Report:
    """The plan with its predicted figures; nothing but it was made."""
    plan = played_off(begun.planner, Wish({"damage": DAMAGE, **begun.limits}, request.solver))
    folded, picks = begun.planner.program, plan.best.solution.picks
    specs, program = _specs(begun.fold, plan, request, prepared), realize(plan.tables, picks, folded, context).program
    attempt = Attempt(plan, None, {})
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
    off: float,
) -> Attempt:  # fmt: skip
    """The plan's artifact held to the budgets: by what was measured, where something tells times, else by predictions
    times what the original's was `off`."""
    kept, original = selection.kept, workshop.build(workshop.prepared.program)
    times = workshop.measured(original, kept)
    before, after = (
        _costs(a, times.get(n), workshop.pipeline.context, watts, off) for n, a in (("0", original), ("1", kept))
    )
    passed: dict[Axis, float] = {}
    for budget in budgets:
        if budget.axis in after:
            share = after[budget.axis] / budget.limit(before[budget.axis]) - 1
            passed[budget.axis] = max(share, passed.get(budget.axis, share))
    over = {axis: share for axis, share in passed.items() if share > 0}
    timed = [share for axis, share in passed.items() if axis in ("latency", "energy")]
    allowed = 1.0 if selection.rejected is None else workshop.allowed(selection.rejected)
    held = workshop.held(kept, times.get("1"))
    lost = workshop.prepared.metric.drop(workshop.metric(original), workshop.metric(kept))
    taken = times["1"].p50 / times["0"].p50 if times else None
    return Attempt(plan, selection, over, allowed, held, -max(timed, default=0.0), max(lost, 0.0), taken)


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


def _corrected(limits: Mapping[Axis, float], attempts: Sequence[Attempt]) -> dict[Axis, float] | None:
    """The limits to plan again with; None where the budgets hold, or nothing is left to try."""
    found, latest = dict(limits), attempts[-1]
    best = latest.plan.best
    if latest.fell:
        short = [each.plan.best.damage for each in attempts if each.short and each.plan.best.damage < best.damage]
        least = math.sqrt(max(short) * best.damage) if short else 0.0  # a plan of less misses the budgets
        found["damage"] = max(best.damage * min(max(latest.allowed, LEAST), MOST), least)
    elif latest.short:  # the damage allowed stood in the way, and the metric bears more
        fallen = [each.plan.best.damage for each in attempts if each.fell]
        found["damage"] = math.sqrt(limits["damage"] * min(fallen)) if fallen else WIDER * limits["damage"]
        return found if found["damage"] > NEAR * limits["damage"] else None
    elif latest.overruns:
        for axis, over in latest.overruns.items():
            own = own_axis(axis)
            found[own] = min((1 - MARGIN) * _predicted(best)[own] / (1 + over), found.get(own, math.inf))
    elif "latency" in limits and latest.spare > SPARE:  # it may do less damage, and still keep the budget
        found["latency"] = max(_milder(attempts), limits["latency"])
    return found if found != limits else None


def _milder(attempts: Sequence[Attempt]) -> float:
    """The limit of time for a plan as slow as the budget allows, after one that leaves some of it: where an earlier one
    was over it, in between; else as much above."""
    latest = attempts[-1]
    own, kept = _predicted(latest.plan.best)["latency"], 1 - latest.spare
    slower = [(_predicted(each.plan.best)["latency"], 1 + over) for each in attempts if (over := _late(each)) > 0]
    if slower:
        other, broken = min(slower)
        return own + (other - own) * (1 - MARGIN - kept) / (broken - kept)
    return (1 - MARGIN) * own / kept


def _late(attempt: Attempt) -> float:
    """By what share its time is over the tightest budget of time."""
    return max(attempt.overruns.get("latency", 0.0), attempt.overruns.get("energy", 0.0))


def _predicted(built: Built) -> dict[Axis, float]:
    return {"latency": built.parts.latency_ms, "size": built.parts.bytes, "memory": built.parts.memory}


def _notes(best: Attempt, attempts: Sequence[Attempt], begun: Start) -> Iterator[str]:
    plan, built = best.plan, best.plan.best
    base, factor = begun.planner.base, begun.factor
    times = (show("latency", factor * parts.latency_ms) for parts in (base, built.parts))
    sizes = (show("size", parts.bytes) for parts in (base, built.parts))
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
