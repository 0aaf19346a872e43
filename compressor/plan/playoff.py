"""Which passes a plan is better without: plans with and without each are trained a little, and the best is taken.

    D(plan) = damage of its structure after a few steps of recovery + Σ damage of its bits
    bar the pass without which the best plan costs least, D in the place of the damage thought;  again, until none gains

Tables add up what options do, and probes tell how much of a pass' cut heals alone. That depth, width and rank taken
away together heal worse than each by itself is in neither: it is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.passes import find_pass
from compressor.plan.planner import UNIT, Built, Plan, Planner, Wish
from compressor.plan.probe import STEPS, trained_damage
from compressor.plan.realize import realize, specs_of
from compressor.plan.whole import plan_key

__all__ = ["played_off"]

OVER = 0.02  # of its limits, that a plan may be over and still stand beside one that is not
GAIN = 0.05  # of the damage: less is no reason to bar a pass


def played_off(planner: Planner, wish: Wish) -> Plan:
    """The best plan, and the planner left with those passes barred that it does better without. Where nothing can be
    trained, or the time is over, the plan of all passes."""
    plan = planner.plan(wish)
    if not planner.probes or len(_structural(plan.best)) < 2 or planner.swapper.clock.over():
        return plan
    standing = _Entrant("", plan, _trained(planner, plan.best))
    while len(names := _structural(standing.plan.best)) > 1:
        rivals = []
        for name in planner.context.progress.over(names, "playing off"):
            if planner.swapper.clock.over():
                return standing.plan
            rivals.append(_rival(name, planner, wish))
        allowed = max(_broken(standing.plan.best), OVER)
        best = min((each for each in rivals if _broken(each.plan.best) <= allowed), key=_cost, default=standing)
        if best.cost > standing.cost - GAIN * standing.damage / UNIT:
            break
        standing = best
        planner.barred |= {best.without}
        planner.context.progress.say(f"better without {best.without}: damage {best.damage:.3g} after {STEPS}")
    return standing.plan


@dataclass(frozen=True)
class _Entrant:
    """A plan, the last pass that was barred from it, its damage after a short training, and its cost by that."""

    without: str
    plan: Plan
    damage: float

    @property
    def cost(self) -> float:
        return self.plan.best.objective + (self.damage - self.plan.best.damage) / UNIT


def _cost(entrant: _Entrant) -> float:
    return entrant.cost


def _rival(name: str, planner: Planner, wish: Wish) -> _Entrant:
    """The best plan without one more pass."""
    before = planner.barred
    planner.barred = before | {name}
    plan = planner.plan(wish)
    planner.barred = before
    return _Entrant(name, plan, _trained(planner, plan.best))


def _structural(built: Built) -> list[str]:
    return [spec.name for spec in built.specs if find_pass(spec.name).structural]


def _broken(built: Built) -> float:
    return max((over for axis, over in built.overruns.items() if axis != "damage"), default=0.0)


def _trained(planner: Planner, built: Built) -> float:
    """Its damage after a short recovery, read from an earlier run or found in this one."""
    swapper, picks = planner.swapper, built.solution.picks
    cut = tuple(pick if place.means.structural else 0 for pick, place in zip(picks, planner.tables.places, strict=True))
    key = f"trained for {STEPS} {plan_key(specs_of(planner.tables, cut), swapper)}"
    found = swapper.shelf.recall(key, lambda said: float(said["damage"]))
    if found is None:
        found = trained_damage(realize(planner.tables, cut, swapper.program, swapper.making).program, swapper)
        swapper.shelf.keep(key, {"damage": found})
    return found + planner.bits_damage(picks)
