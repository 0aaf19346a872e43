"""What an option does: it alone is swapped into the original, and both are compared on the calibration data.

    damage = mean KL(softmax y ‖ softmax ŷ) of scores, ‖y − ŷ‖²/‖y‖² + 1 − cos(y, ŷ) of values

Both add up over sites, nearly, as long as they are small. Without data the damage is what the pass knows of the
weights. What saves time only beside its like (bits) is also swapped in at every site together: a layer's time is taken
from there. Everything measured is kept, so that planning goes on where it was stopped, and another budget asks nothing.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compressor.cache import Shelf
from compressor.errors import CompressError
from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.reading.samples import limited
from compressor.passes.recover.judge import Judge
from compressor.plan.edges import edges
from compressor.plan.menu import Place
from compressor.plan.parts import Parts, parts_of

__all__ = ["Effect", "Measured", "Swapper", "carried_out"]

SAMPLES = 128  # that damage is measured on


@dataclass(frozen=True)
class Effect:
    """What an option does alone: the program's parts with it, its damage, and the layers whose weights change."""

    parts: Parts
    damage: float
    layers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"parts": self.parts.to_json(), "damage": self.damage, "layers": list(self.layers)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Effect:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(Parts.from_json(said["parts"]), float(said["damage"]), tuple(map(str, said["layers"])))


@dataclass
class Measured:
    """All that is known: of the original, of each place's options (None where one does nothing), and of levels that
    are everywhere at once, by pass and level. `edges` are layers that feed each other; `left` are places that there
    was no time for."""

    base: Parts
    effects: dict[str, tuple[Effect | None, ...]] = field(default_factory=dict)
    levels: dict[tuple[str, str], Parts] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    left: list[Skip] = field(default_factory=list)


@dataclass
class Swapper:
    """Measures options of one program. `shelf` keeps what was measured; `data` and `program` are in its keys."""

    program: Program
    context: Context
    shelf: Shelf

    def __post_init__(self) -> None:
        batches = limited(self.program, self.context.calibration, SAMPLES)
        self.judge = Judge(self.program, batches) if batches else None
        self.base = parts_of(self.program, self.context)
        self.known = {*self.base.latency, *self.base.size}
        self.digest = self.program.hash()

    def measure(self, places: Sequence[Place], seconds: float | None = None) -> Measured:
        """Every place, what is cheapest to lose first, until the time is over: what was kept costs none, nor does what
        another run measures meanwhile, which is looked at last."""
        found = Measured(self.base, edges=edges(self.program, self.known))
        end = None if seconds is None else time.monotonic() + seconds
        ordered, elsewhere = sorted(places, key=lambda place: -place.means.order), list[Place]()
        for place in self.context.progress.over(ordered, "weighing options"):
            if not self._measure(place, found, end):
                elsewhere.append(place)
        for place in elsewhere:
            self._measure(place, found, end, wait=True)
        found.levels = dict(self._levels(places, found))
        return found

    def _measure(self, place: Place, found: Measured, end: float | None, *, wait: bool = False) -> bool:
        """One place; False where another run is at it, which is waited for with `wait`."""
        effects = self._kept(place)
        if effects is None and end is not None and time.monotonic() > end:
            found.left.append(Skip(place.name, "there was no time to weigh it"))
            return True
        if effects is None:
            with self.shelf.claim(self._key(place), wait=wait) as ours:
                if not ours:
                    return False
                effects = self._kept(place)
                effects = self._stored(place) if effects is None else effects
        found.effects[place.name] = effects
        return True

    def damage(self, program: Program) -> float | None:
        """Of any program that stands in for the original; None without data."""
        return None if self.judge is None else self.judge.damage(program)

    def _key(self, place: Place) -> str:
        settings = [sorted(place.setting(number).items()) for number in range(len(place.options))]
        return f"effects {self.digest} {place.name} {settings}"

    def _kept(self, place: Place) -> tuple[Effect | None, ...] | None:
        return self.shelf.recall(self._key(place), _read)

    def _stored(self, place: Place) -> tuple[Effect | None, ...]:
        effects = tuple(self._effect(place, number) for number in range(len(place.options)))
        self.shelf.keep(self._key(place), [None if each is None else each.to_json() for each in effects])
        return effects

    def _effect(self, place: Place, number: int) -> Effect | None:
        try:
            swapped, changed = carried_out(place, {place.site: place.setting(number)}, self.program, self.context)
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
        return Effect(parts_of(swapped, self.context, self.known), damage, layers)

    def _levels(self, places: Sequence[Place], found: Measured) -> Iterator[tuple[tuple[str, str], Parts]]:
        """Levels of passes that pay together, at all of their sites at once."""
        groups: dict[tuple[str, str], list[tuple[Place, int]]] = defaultdict(list)
        for place in places:
            for number, effect in enumerate(found.effects.get(place.name, ())):
                if effect is not None and place.means.together:
                    groups[place.means.name, place.options[number].level].append((place, number))
        for (name, level), members in groups.items():
            key = f"level {self.digest} {name} {level} {sorted(place.site for place, _ in members)}"
            parts = self.shelf.recall(key, Parts.from_json)
            if parts is None:
                sites = {place.site: place.setting(number) for place, number in members}
                swapped, _ = carried_out(members[0][0], sites, self.program, self.context)
                parts = parts_of(swapped, self.context, self.known)
                self.shelf.keep(key, parts.to_json())
            yield (name, level), parts


def _read(said: Any) -> tuple[Effect | None, ...]:
    return tuple(None if each is None else Effect.from_json(each) for each in said)


def carried_out(
    place: Place, sites: Mapping[str, Setting], program: Program, context: Context
) -> tuple[Program, tuple[str, ...]]:
    """A program with these settings of the place's pass, and what changed. What only prepares is folded, too."""
    means = replace(place.means, sites=dict(sites))
    result = means.run(program, context)
    if result.changed and means.prepares:
        return Fold().run(result.program, context).program, result.changed
    return result.program, result.changed
