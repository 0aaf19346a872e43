"""Leave blocks out: a network with fewer of them is faster wherever its layers run one after the other.

    stream + f₁(stream) + …   →   stream        for the share `amount` of the blocks that are missed least

Blocks are found in the graph (`graph/blocks`), which go is told by `dropping/choose`; the widths stay as they are.
What the dropped part added is folded into its neighbour where that helps (`dropping/heal`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult, Setting, Skip, Value
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import Candidate, Unit, candidates_of
from compressor.passes.dropping.choose import by_chance, from_the_end, greedy, influence, least
from compressor.passes.dropping.gates import learned_gates
from compressor.passes.dropping.heal import Healed, heal
from compressor.passes.reading.options import refuse_idle
from compressor.passes.reading.samples import limited
from compressor.passes.recover.judge import Judge, parted

__all__ = ["By", "Drop"]

By = Literal["auto", "greedy", "influence", "gates", "last", "random"]
_UNITS: dict[Unit, str] = {"block": "blocks", "mixer": "mixers", "mlp": "MLPs", "any": "mixers and MLPs"}
MOST = 400  # runs of the calibration data that `auto` takes for greedy
_NO_DATA = "there is no calibration data to tell what is missed least"


@dataclass(frozen=True)
class Drop(Pass):
    """Leave out the blocks that the outputs miss least, or only their mixers or MLPs.

    amount: the share of the units that goes.
    unit: what goes: whole blocks ("block"), what mixes positions in them ("mixer": attention, convolutions, state
        spaces), what acts on each position alone ("mlp"), or either branch by itself ("any").
    by: "greedy" drops one after the other, each time the one whose absence changes the outputs least; "influence"
        those that change the stream least, from one run; "gates" learns which to close, all together, under the time
        that they take; "last" and "random" are for comparison; "auto" is greedy, or influence where that takes too many
        runs, and last without data.
    samples: how many calibration samples are looked at.
    steps: training steps of "gates".
    heal: "auto" folds what is missing into the layer before, where that brings the outputs nearer to the original's on
        samples that it was not fitted to; "none" does not.
    """

    name: ClassVar[str] = "drop"
    main: ClassVar[str] = "amount"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 10
    amount: float = 0.25
    unit: Unit = "block"
    by: By = "auto"
    samples: int = 64
    steps: int = 100
    heal: Literal["auto", "none"] = "auto"

    def __post_init__(self) -> None:
        """Raises RecipeError for options that make no sense."""
        if not 0.0 < self.amount < 1.0:
            raise RecipeError(f"amount is {self.amount}", where="drop", way_out="It is a share of the blocks: 0.25.")
        for name, number in (("samples", self.samples), ("steps", self.steps)):
            if number < 1:
                raise RecipeError(f"{name} is {number}; one is needed at least", where="drop")
        if self.by != "gates":
            refuse_idle(self, ("steps",), f"by={self.by}", "take by=gates")
        if self.by in ("last", "random") and self.heal == "none":
            refuse_idle(self, ("samples",), f"by={self.by}:heal=none", "take a way that looks at data: by=greedy")

    def learns(self) -> bool:
        return self.by == "gates" and not self.sites

    def milder(self) -> Mapping[str, Value] | None:
        return {"amount": self.amount / 2} if self.amount > 0.1 else None

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),)

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """Each block, and each branch of one, left out alone. The bytes are those that stay at the site: none."""
        copy = finish(functional_copy(program)[0])
        batches = () if context.unweighed else limited(copy, context.calibration, self.samples)
        judge = Judge(copy, batches) if batches else None
        for unit in ("block", "any"):
            for each in candidates_of(copy, unit, self.keep)[0]:
                smaller = without(copy, [each])
                damage = None if judge is None else judge.damage(smaller)
                latency = context.latency.predict(finish(smaller), context.target) if context.latency else None
                yield Option(
                    each.site,
                    {"unit": each.unit},
                    0,
                    latency.latency_ms if latency else None,
                    damage,
                    f"no {each.unit}",
                )

    def run(self, program: Program, context: Context) -> PassResult:
        copy = finish(functional_copy(program)[0])
        found, skipped = self._found(copy)
        going, notes = found, tuple[str, ...]()
        if not self.sites:
            count = min(int(self.amount * len(found) + 0.5), len(found) - 1)
            if count < 1:
                reason = (
                    f"{self.amount:g} of {_counted(len(found), self.unit)} is none"
                    if len(found) > 1
                    else f"the graph has not two {_UNITS[self.unit]} that can go"
                )
                return PassResult(program, (), (*skipped, Skip(f"unit={self.unit}", reason, whole=True)))
            going, notes = self._chosen(copy, found, count, context)
            notes = (*notes, f"{len(going)} of {_counted(len(found), self.unit)} went")
        if not going:
            return PassResult(program, (), tuple(skipped))
        healed, told = self._healed(copy, going, context)
        gone = tuple(name for each in going for name in each.gone)
        settings = {each.site: _setting(each, each.site in healed.folded) for each in going}
        changed = (*gone, *sorted(set(healed.folded.values())))
        return PassResult(healed.program, changed, tuple(skipped), settings, (*notes, *told))

    def _healed(self, program: Program, going: list[Candidate], context: Context) -> tuple[Healed, tuple[str, ...]]:
        """Without what goes; with `sites`, what they say is folded is, on the same data."""
        smaller = finish(without(program, going))
        batches = limited(program, context.calibration, self.samples)
        told = [site for site, setting in self.sites.items() if setting.get("heal")]
        wanted = bool(told) if self.sites else self.heal == "auto"
        if not wanted or not batches:
            return Healed(smaller, {}, (0.0, 0.0)), (
                "nothing was folded: there is no calibration data",
            ) if told else ()
        seen, apart = parted(program, batches)
        if self.sites:
            return heal(program, smaller, going, seen, None, told, self.keep), ()
        if apart is seen:
            return Healed(smaller, {}, (0.0, 0.0)), ("nothing was folded: a single sample leaves none to judge it by",)
        found = heal(program, smaller, going, seen, Judge(program, apart), keep=self.keep)
        parts = ", ".join(f"{site} into {layer}" for site, layer in found.folded.items())
        before, after = found.damage
        what = "relative distance of the outputs on samples apart"
        return found, (f"folded {parts}: {what} {before:.3g} to {after:.3g}",) if parts else ()

    def _found(self, program: Program) -> tuple[list[Candidate], list[Skip]]:
        """What may go; with `sites`, exactly those, and why another cannot."""
        if not self.sites:
            return candidates_of(program, self.unit, self.keep)
        both = [candidates_of(program, unit, self.keep) for unit in ("block", "any")]
        known = {each.site: each for found, _ in both for each in found}
        reasons = {skip.site: skip.reason for _, skipped in both for skip in skipped}
        for site, setting in self.sites.items():
            _check(site, setting, known.get(site))
        absent = [Skip(s, reasons.get(s, "the graph has no such block")) for s in self.sites if s not in known]
        return [known[site] for site in self.sites if site in known], absent

    def _chosen(
        self, program: Program, found: list[Candidate], count: int, context: Context
    ) -> tuple[list[Candidate], tuple[str, ...]]:
        batches = limited(program, context.calibration, self.samples)
        by = self._by(len(found), count, data=bool(batches))
        if by == "last":
            return from_the_end(found, count), (f"the last ones went: {_NO_DATA}",) if self.by == "auto" else ()
        if by == "random":
            return by_chance(found, count, context.seed), ()
        if by == "influence":
            return least(found, influence(program, found, batches), count), ()
        judge = Judge(program, batches)
        if by == "gates":
            gates = learned_gates(program, found, count, self.steps, judge, context)
            told = ", ".join(f"{each.site} {gate:.2f}" for each, gate in zip(found, gates, strict=True))
            return least(found, gates, count), (f"the gates learned: {told}",)
        gone, damages = greedy(program, found, count, judge, context.progress)
        told = ", ".join(f"{each.site} {damage:.3g}" for each, damage in zip(gone, damages, strict=True))
        return gone, (f"dropped, with the outputs' relative distance from the original's after each: {told}",)

    def _by(self, found: int, count: int, *, data: bool) -> By:
        """What `auto` means. Raises RecipeError where a way needs data and there is none."""
        if self.by == "auto":
            return ("greedy" if found * count <= MOST else "influence") if data else "last"
        if self.by in ("greedy", "influence", "gates") and not data:
            raise RecipeError(f"by={self.by}: {_NO_DATA}", where="drop", way_out="Add --data, or choose by=last.")
        return self.by


def _counted(count: int, unit: Unit) -> str:
    return f"{count} {_UNITS[unit]}"


def _setting(each: Candidate, folded: bool) -> Setting:
    return {"unit": each.unit, "heal": True} if folded else {"unit": each.unit}


def _check(site: str, setting: Setting, candidate: Candidate | None) -> None:
    """Raises RecipeError for a setting that says nothing of its site."""
    unit = setting.get("unit")
    wrong = set(setting) - {"unit", "heal"} or not isinstance(setting.get("heal", True), bool)
    if wrong or (candidate is not None and unit != candidate.unit):
        raise RecipeError(
            f"{dict(setting)} does not fit", where=f"drop: site {site!r}",
            way_out="Write unit, as a run of drop returns it: block, mixer or mlp; and heal = true where it says so.",
        )  # fmt: skip
