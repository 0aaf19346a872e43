"""What an option does: it alone is swapped into the original, and both are compared on the calibration data.

    damage = mean KL(softmax y ‖ softmax ŷ) of scores, ‖y − ŷ‖²/‖y‖² + 1 − cos(y, ŷ) of values

Both add up over sites, nearly, as long as they are small. Passes that fit weights do so to a part of the data, and the
damage is that to the rest: what was fitted is up to 20 times closer to the samples that it was fitted to. Without data
the damage is what the pass knows of the weights. What saves time only beside its like (bits) is also swapped in at
every site together: a layer's time is taken from there. Everything measured is kept as it is for any board, so that
planning goes on where it was stopped, and neither another budget nor another board runs the network again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compressor.cache import Shelf
from compressor.errors import CompressError
from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.cost import LatencyModel
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.reading.samples import limited
from compressor.passes.recover.judge import Judge, parted
from compressor.plan.clock import WEIGHING, Clock
from compressor.plan.common import common
from compressor.plan.differences import Differences
from compressor.plan.edges import edges
from compressor.plan.menu import Place
from compressor.plan.parts import Parts, Sketch, priced, sketched

__all__ = ["Effect", "Measured", "Seen", "Survey", "Swapper", "carried_out"]

SAMPLES = 128  # that damage is measured on


@dataclass(frozen=True)
class Effect:
    """What an option does alone: the program's parts with it, its damage, and the layers whose weights change."""

    parts: Parts
    damage: float
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """The same for any board."""

    sketch: Sketch
    damage: float
    layers: tuple[str, ...]


@dataclass
class Survey:
    """All that is known: of the original, of each place's options (None where one does nothing), and of levels that
    are everywhere at once, by pass and level. `edges` are layers that feed each other; `left` are places that there
    was no time for."""

    base: Sketch
    effects: dict[str, tuple[Seen | None, ...]] = field(default_factory=dict)
    levels: dict[tuple[str, str], Sketch] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    left: list[Skip] = field(default_factory=list)

    def on(self, context: Context) -> Measured:
        """Priced for a board."""
        base = priced(self.base, context)
        known = base.layers

        def effect(seen: Seen) -> Effect:
            return Effect(priced(seen.sketch, context, known), seen.damage, seen.layers)

        effects = {
            name: tuple(None if each is None else effect(each) for each in seen) for name, seen in self.effects.items()
        }
        levels = {key: priced(sketch, context, known) for key, sketch in self.levels.items()}
        return Measured(base, self, effects, levels)


@dataclass(frozen=True)
class Measured:
    """A survey with what everything costs on one board."""

    base: Parts
    survey: Survey
    effects: Mapping[str, tuple[Effect | None, ...]]
    levels: Mapping[tuple[str, str], Parts]

    @property
    def edges(self) -> set[tuple[str, str]]:
        return self.survey.edges

    @property
    def left(self) -> list[Skip]:
        return self.survey.left


@dataclass
class Swapper:
    """Measures options of one program. `shelf` keeps what was measured, for all targets; its keys hold the data.

    `making` is the context of all that is made to be judged: for no board in particular, with the calibration data that
    do not judge.
    """

    program: Program
    context: Context
    shelf: Shelf
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        fitted, apart = parted(self.program, self.context.calibration)
        self.judge = Judge(self.program, limited(self.program, apart, SAMPLES)) if apart else None
        self.making = replace(self.context, target=common(self.context.target), calibration=fitted)
        self.sketch = sketched(self.program)
        self.differences = Differences(self.sketch)
        self.base = priced(self.sketch, self.context)
        self.known = self.base.layers
        self.digest = self.program.hash()
        self.settled: dict[tuple[str, str], Mapping[str, Setting]] = {}  # by pass and level, at all sites
        self.ran = False  # whether anything had to be measured that an earlier run had not kept

    def measure(self, places: Sequence[Place]) -> Measured:
        """Every place, what is cheapest to lose first, until the time is over: what was kept costs none, nor does what
        another run measures meanwhile, which is looked at last."""
        found, self.settled = Survey(self.sketch, edges=edges(self.program, self.known)), {}
        ordered, elsewhere = sorted(places, key=lambda place: -place.means.order), list[Place]()
        for place in self.context.progress.over(ordered, "weighing options"):
            if not self._measure(place, found, ordered):
                elsewhere.append(place)
        for place in elsewhere:
            self._measure(place, found, ordered, wait=True)
        found.levels = dict(self._levels(places, found))
        return found.on(self.context)

    def _measure(self, place: Place, found: Survey, places: Sequence[Place], *, wait: bool = False) -> bool:
        """One place of all; False where another run is at it, which is waited for with `wait`."""
        seen = self._kept(place)
        if seen is None and self.clock.over(WEIGHING):
            found.left.append(Skip(place.name, "there was no time to weigh it"))
            return True
        if seen is None:
            with self.shelf.claim(self._claim(place), wait=wait) as ours:
                if not ours:
                    return False
                seen = self._kept(place)
                seen = self._stored(place, places) if seen is None else seen
        found.effects[place.name] = seen
        return True

    def damage(self, program: Program) -> float | None:
        """Of any program that stands in for the original; None without data."""
        return None if self.judge is None else self.judge.damage(program)

    def priced_by(self, latency: LatencyModel) -> None:
        """Price by another model from now on; what was measured is the same."""
        self.context = replace(self.context, latency=latency)
        self.base = priced(self.sketch, self.context)

    def parts(self, sketch: Sketch) -> Parts:
        """Of what stands in for the original, on this board."""
        return priced(sketch, self.context, self.known)

    def _claim(self, place: Place) -> str:
        return f"place {self.digest} {place.name}"

    def _key(self, place: Place, number: int) -> str:
        """What an option is by its setting alone, but for wishes, which a pass reads with the board's eyes."""
        reads = () if place.options[number].wish is None else place.means.reads(self.making.target)
        return f"effect {self.digest} {place.name} {sorted(place.setting(number).items())} {reads}"

    def _kept(self, place: Place) -> tuple[Seen | None, ...] | None:
        """None where an option is missing."""
        known = [self._recalled(place, number) for number in range(len(place.options))]
        return tuple(each[0] for each in known if each is not None) if None not in known else None

    def _recalled(self, place: Place, number: int) -> tuple[Seen | None] | None:
        return self.shelf.recall(self._key(place, number), self._read)

    def _stored(self, place: Place, places: Sequence[Place]) -> tuple[Seen | None, ...]:
        self.ran = True
        found = []
        for number in range(len(place.options)):
            known = self._recalled(place, number)
            if known is None:
                seen = self._seen(place, number, places)
                self.shelf.keep(self._key(place, number), [None if seen is None else self._written(seen)])
                known = (seen,)
            found.append(known[0])
        return tuple(found)

    def _written(self, seen: Seen) -> dict[str, Any]:
        return {
            "sketch": self.differences.written(seen.sketch), "damage": seen.damage, "layers": list(seen.layers)
        }  # fmt: skip

    def _read(self, said: Any) -> tuple[Seen | None]:
        """A list of one: of what does nothing, None is kept, too."""
        [each] = said
        if each is None:
            return (None,)
        layers = tuple(map(str, each["layers"]))
        return (Seen(self.differences.read(each["sketch"]), float(each["damage"]), layers),)

    def _setting(self, place: Place, number: int, places: Sequence[Place]) -> Setting:
        """A wish that is read with the data (ranges of eight bits) is read once for all sites, not once for each."""
        option, asked = place.options[number], place.setting(number)
        if option.wish is None or not place.means.together:
            return asked
        key = (place.means.name, option.level)
        if key not in self.settled:
            sites = {
                each.site: each.setting(at)
                for each in places if each.means.name == place.means.name
                for at, one in enumerate(each.options) if one.level == option.level
            }  # fmt: skip
            means = replace(place.means, sites=sites)
            self.settled[key] = means.run(self.program, replace(self.making, latency=None)).settings
        return self.settled[key].get(place.site, asked)

    def _seen(self, place: Place, number: int, places: Sequence[Place]) -> Seen | None:
        try:
            setting = self._setting(place, number, places)
            swapped, changed = carried_out(place, {place.site: setting}, self.program, self.making)
        except CompressError:
            return None
        if not changed:
            return None
        damage = self.damage(swapped)
        if damage is None:
            damage = place.options[number].damage or 0.0
        if not math.isfinite(damage):  # nothing is left of the outputs
            return None
        layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in changed))
        return Seen(sketched(swapped), damage, layers)

    def _levels(self, places: Sequence[Place], found: Survey) -> Iterator[tuple[tuple[str, str], Sketch]]:
        """Levels of passes that pay together, at all of their sites at once."""
        groups: dict[tuple[str, str], list[tuple[Place, int]]] = defaultdict(list)
        for place in places:
            for number, effect in enumerate(found.effects.get(place.name, ())):
                if effect is not None and place.means.together:
                    groups[place.means.name, place.options[number].level].append((place, number))
        for (name, level), members in groups.items():
            reads = members[0][0].means.reads(self.making.target)
            key = f"level {self.digest} {name} {level} {sorted(place.site for place, _ in members)} {reads}"
            sketch = self.shelf.recall(key, self.differences.read)
            if sketch is None:
                sites = {place.site: place.setting(number) for place, number in members}
                swapped, _ = carried_out(members[0][0], sites, self.program, self.making)
                sketch = sketched(swapped)
                self.shelf.keep(key, self.differences.written(sketch))
            yield (name, level), sketch


def carried_out(
    place: Place, sites: Mapping[str, Setting], program: Program, context: Context
) -> tuple[Program, tuple[str, ...]]:
    """A program with these settings of the place's pass, and what changed. What only prepares is folded, too.

    No latency model is asked, so that it is the same for all boards.
    """
    means, context = replace(place.means, sites=dict(sites)), replace(context, latency=None)
    result = means.run(program, context)
    if result.changed and means.prepares:
        return Fold().run(result.program, context).program, result.changed
    return result.program, result.changed
