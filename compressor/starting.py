"""Where planning begins: the folded original, every option weighed, a latency model that fits it, budgets as limits.

fold ─ weigh options ─ bend the latency model to the network's own cuts, where something tells times ─ limits
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compressor.accounting import power_of
from compressor.cache import Shelf
from compressor.devices.latency.calibration import Calibrated
from compressor.errors import InputError
from compressor.gate import Budget, BudgetAxis, Gate
from compressor.graph.program import Program
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline
from compressor.plan.clock import Clock
from compressor.plan.cuts import Bending, Clocks, bending
from compressor.plan.menu import collect
from compressor.plan.parts import Parts, parts_of
from compressor.plan.planner import Planner
from compressor.plan.problem import Axis
from compressor.plan.swap import Swapper
from compressor.prepare import Prepared
from compressor.request import Request

__all__ = ["FOLD", "Start", "own_axis", "start"]

FOLD = PassSpec("fold", {}, {}, "planner")


@dataclass
class Start:
    """A planner for the folded original, and the budgets as limits in its units."""

    planner: Planner
    limits: dict[Axis, float]
    factor: float  # of the latency model: its milliseconds by those of parts
    fold: PassSpec  # as it was done
    original: tuple[float, float] | None = None  # milliseconds of the original, predicted and measured
    bent: Calibrated | None = None  # the latency model as it is for this network on the board
    bending: Bending | None = None  # what it was bent to

    @property
    def off(self) -> float:
        """How many times what was predicted of the original it takes."""
        return 1.0 if self.original is None else self.original[1] / self.original[0]

    def learn(self, program: Program, share: float) -> float:
        """Bend the latency model to a plan, too, that took `share` of the original's time beside it. How many times the
        original's milliseconds, in the planner's units, are now what they were."""
        further = None if self.bending is None else self.bending.and_of(program, share)
        bent = None if further is None else further.model()
        if bent is None:
            return 1.0
        before = self.planner.base.latency_ms
        self.planner.priced_by(bent)
        self.bent, self.bending = bent, further
        grown = self.planner.base.latency_ms / before
        self.factor /= grown
        return grown


def start(
    request: Request, prepared: Prepared, pipeline: Pipeline, gate: Gate, clocks: Clocks | None = None,
    original_ms: float | None = None,
) -> Start:  # fmt: skip
    """Fold, and measure every option, until `--time` is over. Where `clocks` tell times, the latency model is bent to
    the network's own cuts; `original_ms` is what the original was measured to take: what is predicted is multiplied by
    what it was off there."""
    stages = pipeline.run(prepared.program, [FOLD])
    folded, context = stages[-1].program, pipeline.context
    axes: set[Axis] = {own_axis(budget.axis) for budget in gate.budgets} | {gate.objective}
    shelf = Shelf(pipeline.cache, pipeline.weighed)
    swapper = Swapper(folded, context, shelf, Clock(request.planning_seconds()))
    places = collect(folded, context, axes, pipeline.keep, shelf)
    planner = Planner(swapper, places, swapper.measure(places))
    timed = None if clocks is None or "latency" not in axes else bending(planner.even, swapper, clocks)
    bent = None if timed is None else timed.model()
    if bent is not None:
        planner.priced_by(bent)
        context = planner.context
    original = parts_of(prepared.program, context)
    estimate = None if context.latency is None else context.latency.predict(prepared.program, context.target)
    factor = 1.0 if estimate is None else estimate.factor
    both = None
    if original_ms is not None and original.latency_ms > 0:
        both = factor * original.latency_ms, original_ms
        factor = original_ms / original.latency_ms
    limits = dict(_limits(gate.budgets, original, factor, request, prepared))
    return Start(planner, limits, factor, stages[-1].spec, both, bent, None if bent is None else timed)


def own_axis(axis: BudgetAxis | Axis) -> Axis:
    """What the planner reckons a budget in: energy is the time's, times what the board draws."""
    return "latency" if axis == "energy" else axis


def _limits(
    budgets: Sequence[Budget], original: Parts, factor: float, request: Request, prepared: Prepared
) -> Iterator[tuple[Axis, float]]:
    """Of parts, whose milliseconds are without the latency model's `factor`. Energy is the latency's, times what the
    board draws: its limit is one of latency."""
    now, budgets = factor * original.latency_ms, [budget for budget in budgets if not budget.least]
    latency = [budget.limit(now) / factor for budget in budgets if budget.axis == "latency"]
    power = power_of(prepared.target, request.threads)
    for budget in budgets:
        if budget.axis == "size":
            yield "size", budget.limit(original.bytes)
        elif budget.axis == "memory":
            yield "memory", budget.limit(original.memory)
        elif budget.axis == "energy":
            if power is None:
                raise InputError(
                    f"{prepared.target.name} does not declare its power", where="--energy",
                    way_out="Give --latency, or the target's TOML a [power].",
                )  # fmt: skip
            latency.append(budget.limit(power.value * 1e-3 * now) / power.value * 1e3 / factor)
    if latency:
        yield "latency", min(latency)
