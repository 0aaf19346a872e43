"""Blocks in groups: who shares with whom, with which weights, and the rewrite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compressor.graph.contract import Batch, Context, PassResult, Setting, Skip
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import Candidate
from compressor.passes.recover.judge import Judge
from compressor.passes.sharing.clusters import central
from compressor.passes.sharing.plan import Asked, as_told, carry_out, others_of, planned
from compressor.passes.sharing.settings import Told
from compressor.passes.sharing.units import Unit
from compressor.passes.sharing.values import Grams, Weights, choose_values

__all__ = ["NO_TIME", "Grouping"]

NO_TIME = "shared weights save bytes and no time: every block still runs"


@dataclass(frozen=True)
class Grouping:
    """Units of a program in groups as `asked`, each with weights by the rule; without `repeat` the central one stays
    and the others go."""

    asked: Asked
    weights: Weights
    repeat: bool

    def run(
        self, program: Program, sites: Mapping[str, Setting] | None, batches: Sequence[Batch], context: Context
    ) -> PassResult:
        """Every group, or those of `sites`. Raises RecipeError for sites that say no group."""
        copy, left = functional_copy(program)
        copy = finish(copy)  # it is run, to try whose weights to take
        judge = Judge(copy, batches) if batches else None
        grams = Grams(copy, batches, context.progress)
        groups: Sequence[tuple[Sequence[Unit], Told | None]]
        if sites is not None:
            groups, skips = as_told(copy, sites, self.asked.keep)
        else:
            found, skips = self._planned(copy, batches)
            groups = [(units, None) for units in found]
        settings, changed, going = dict[str, Setting](), list[str](), list[Candidate]()
        for units, given in groups:
            told = given or self._told(copy, units, judge, grams)
            done = carry_out(copy, units, told, grams) if told.repeat else others_of(copy, units, told)
            if isinstance(done, str):
                skips.append(Skip(units[0].name, done))
                continue
            going += [each for each in done if isinstance(each, Candidate)]
            changed += [name for each in done for name in (each.gone if isinstance(each, Candidate) else [each])]
            settings[told.units[0]] = told.setting()
        if not changed:
            return PassResult(program, (), (*skips, *left))
        notes = (NO_TIME,) if any(setting["repeat"] for setting in settings.values()) else ()
        if going:
            stay = ", ".join(str(setting["weights"]) for setting in settings.values())
            notes = (*notes, f"dropped {', '.join(each.site for each in going)}; {stay} stay for their groups")
        most = max((len(units) for units, _ in groups), default=0)
        if sites is None and most < self.asked.size:
            notes = (*notes, f"there are no {self.asked.size} blocks alike in a row: groups have {most} at most")
        copy = without(copy, going) if going else copy
        return PassResult(finish(copy), tuple(dict.fromkeys(changed)), (*skips, *left), settings, notes)

    def offers(self, program: Program, batches: Sequence[Batch], context: Context) -> Iterator[tuple[str, Setting]]:
        """The setting of each group, its weights chosen as if it were alone."""
        copy = finish(functional_copy(program)[0])
        judge = Judge(copy, batches) if batches else None
        grams = Grams(copy, batches, context.progress)
        for units in self._planned(copy, batches)[0]:
            told = self._told(copy, units, judge, grams)
            yield told.units[0], told.setting()

    def _planned(self, program: Program, batches: Sequence[Batch]) -> tuple[list[list[Unit]], list[Skip]]:
        """The groups that there is something to do for: where every block runs, those with weights that differ."""
        found, skips = planned(program, self.asked, batches)
        done = [units for units in found if self.repeat and _is_one(program, units)]
        skips += [Skip(units[0].name, "its group has one set of weights already") for units in done]
        return [units for units in found if units not in done], skips

    def _told(self, program: Program, units: Sequence[Unit], judge: Judge | None, grams: Grams) -> Told:
        """The group as a recipe would have it, its weights chosen."""
        if self.repeat:
            source = choose_values(program, units, self.weights, judge, grams).source
        else:
            source = units[central(tuple(range(len(units))))].name
        return Told(tuple(unit.name for unit in units), self.asked.part, source, self.asked.norms, self.repeat)


def _is_one(program: Program, units: Sequence[Unit]) -> bool:
    """Whether all units compute with the same tensors, name by name."""
    first, *others = ([program.get(name).data_ptr() for name in unit.shared] for unit in units)
    return all(first == other for other in others)
