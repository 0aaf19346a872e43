"""From what options do alone to what plans cost: tables by layer, in which options multiply.

    t_l(c) = t_l · Π_s ρ_{s,l}(c_s)        ρ_{s,l}(o) = t_l with o alone / t_l

Half the inputs and half the outputs are a quarter of a layer, not none of it; eight bits of that are as much less
again. Of what saves time only beside its like, ρ is that of its level everywhere, and where two neighbours differ there
is a border:

    b_s(o) = (t with o alone − t − Σ_l own t_l · (ρ_{l,s}(o) − 1) − shared) / neighbours of s     both sides add up
    shared = (t with o everywhere − t − Σ_l own …) / sites of it

Bytes multiply the same way, and so do the activations that live at once. Damage adds, and so does what belongs to no
layer.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compressor.plan.menu import Place
from compressor.plan.parts import REST, Parts
from compressor.plan.problem import Axis, Floats, Problem, Site, Term
from compressor.plan.swap import Effect, Measured

__all__ = ["AS_IT_IS", "BY_LAYER", "Tables", "build"]

AS_IT_IS = "as it is"
NOISE = 0.02  # of a layer's time: what an option does less than this to a layer that it does not touch is none of its
BY_LAYER: tuple[Axis, ...] = ("latency", "size", "memory")
LARGEST = 4096  # entries of one table; the sites that matter least to a layer are added there, not multiplied


@dataclass(frozen=True)
class Tables:
    """The sites with their options (the first leaves it as it is), and the terms by layer and axis."""

    places: tuple[Place, ...]
    numbers: tuple[tuple[int, ...], ...]  # the place's option behind each of the site's but the first
    sites: tuple[Site, ...]
    terms: tuple[Term, ...]
    layers: tuple[str, ...] = field(default=())  # of the terms that have one, "" for others

    def problem(
        self, limits: Mapping[Axis, float], weights: Mapping[Axis, float], units: Mapping[Axis, float]
    ) -> Problem:
        return Problem(self.sites, self.terms, dict(limits), dict(weights), dict(units))

    def digest(self) -> str:
        """SHA-256 over all of it but the passes: of sites, options and costs."""
        found = hashlib.sha256(repr(self.sites).encode())
        for term in self.terms:
            found.update(f"{term.axis} {term.scope}".encode() + np.ascontiguousarray(term.table).tobytes())
        return found.hexdigest()

    def only(self, wanted: Collection[int]) -> Tables:
        """The same sites, of which all others have no option but to stay as they are."""
        sites = tuple(
            site if index in wanted else Site(site.name, site.options[:1]) for index, site in enumerate(self.sites)
        )
        terms = []
        for term in self.terms:
            index = tuple(slice(None) if site in wanted else slice(1) for site in term.scope)
            terms.append(replace(term, table=term.table[index]))
        return replace(self, sites=sites, terms=tuple(terms))

    def with_damage(self, other: Tables) -> Tables:
        """Damage as others of the same sites have it."""
        pairs = zip(self.terms, other.terms, strict=True)
        return replace(self, terms=tuple(theirs if own.axis == "damage" else own for own, theirs in pairs))

    def weighed(self, factors: Mapping[str, float]) -> Tables:
        """The damage of each pass' options times a factor."""
        terms = tuple(
            replace(term, table=factors.get(self.places[term.scope[0]].means.name, 1.0) * term.table)
            if term.axis == "damage" and term.scope else term
            for term in self.terms
        )  # fmt: skip
        return replace(self, terms=terms)


def build(places: Sequence[Place], measured: Measured) -> Tables:
    """The tables of all places of which an option does something."""
    known = [each for place in places if (each := _known(place, measured)).effects]
    sites = tuple(Site(each.place.name, (AS_IT_IS, *each.levels)) for each in known)
    terms = [
        (REST, Term("damage", (index,), np.array([0.0, *(effect.damage for effect in each.effects)])))
        for index, each in enumerate(known)
    ]
    for axis in BY_LAYER:
        terms += _by_layer(axis, measured.base, [_ratios(axis, each, measured) for each in known])
        terms += _rest(axis, measured, known)
    terms += _borders(measured, known)
    numbers = tuple(each.numbers for each in known)
    layers = tuple(layer for layer, _ in terms)
    return Tables(tuple(each.place for each in known), numbers, sites, tuple(term for _, term in terms), layers)


@dataclass(frozen=True)
class _Known:
    """A place's options that do something: their numbers there, levels and effects."""

    place: Place
    numbers: tuple[int, ...]
    levels: tuple[str, ...]
    effects: tuple[Effect, ...]


def _known(place: Place, measured: Measured) -> _Known:
    pairs = [(n, effect) for n, effect in enumerate(measured.effects.get(place.name, ())) if effect is not None]
    numbers = tuple(number for number, _ in pairs)
    return _Known(place, numbers, tuple(place.options[n].level for n in numbers), tuple(effect for _, effect in pairs))


def _ratios(axis: Axis, known: _Known, measured: Measured) -> dict[str, Floats]:
    """By layer: what each of a site's options, the first leaves it as it is, multiplies the layer with."""
    base = measured.base.of(axis)
    columns: dict[str, Floats] = defaultdict(lambda: np.ones(len(known.effects) + 1))
    for row, (level, effect) in enumerate(zip(known.levels, known.effects, strict=True), start=1):
        everywhere = measured.levels.get((known.place.means.name, level))
        alone = effect.parts.of(axis)
        for layer, value in base.items():
            own = layer in effect.layers
            if everywhere is not None and not own:
                continue
            now = (everywhere.of(axis) if everywhere is not None else alone).get(layer, 0.0)
            if value > 0 and (own or abs(now / value - 1) > NOISE):
                columns[layer][row] = now / value
    return {layer: column for layer, column in columns.items() if (column != 1).any()}


def _by_layer(axis: Axis, base: Parts, ratios: Sequence[Mapping[str, Floats]]) -> list[tuple[str, Term]]:
    terms = []
    for layer, value in base.of(axis).items():
        if layer == REST:
            continue
        seen = [index for index, each in enumerate(ratios) if layer in each]
        seen.sort(key=lambda index: float(ratios[index][layer].min()))
        scope: list[int] = []
        for index in seen:
            size = int(np.prod([len(ratios[i][layer]) for i in (*scope, index)]))
            if size <= LARGEST:
                scope.append(index)
            else:
                terms.append((REST, Term(axis, (index,), value * (ratios[index][layer] - 1))))
        scope.sort()
        table = np.array(value)
        for index in scope:
            table = table[..., None] * ratios[index][layer]
        terms.append((layer, Term(axis, tuple(scope), table)))
    return terms


def _borders(measured: Measured, known: Sequence[_Known]) -> list[tuple[str, Term]]:
    """What a change of level between two neighbours costs, from what options take alone beyond their own layers."""
    places = {each.place.site: index for index, each in enumerate(known) if each.place.means.together}
    pairs = {tuple(sorted((places[a], places[b]))) for a, b in measured.edges if a in places and b in places}
    near = Counter(index for pair in pairs for index in pair)
    shared = _shared(measured, known)
    cost = {index: _border(known[index], measured, shared) / near[index] for index in near}
    terms = []
    for one, other in sorted(pairs):
        mine, theirs = ((AS_IT_IS, *known[index].levels) for index in (one, other))
        differ = np.array([[a != b for b in theirs] for a in mine])
        terms.append((REST, Term("latency", (one, other), differ * (cost[one][:, None] + cost[other][None]))))
    return terms


def _border(known: _Known, measured: Measured, shared: Mapping[tuple[str, str], float]) -> Floats:
    """Milliseconds of each of a site's options alone beyond what it takes among its like."""
    found = [0.0]
    for level, effect in zip(known.levels, known.effects, strict=True):
        base, everywhere = measured.base.latency, measured.levels[known.place.means.name, level].latency
        own = sum(everywhere.get(layer, 0.0) - base.get(layer, 0.0) for layer in effect.layers)
        own += shared[known.place.means.name, level]
        found.append(max(effect.parts.latency_ms - measured.base.latency_ms - own, 0.0))
    return np.array(found)


def _rest(axis: Axis, measured: Measured, known: Sequence[_Known]) -> list[tuple[str, Term]]:
    """What belongs to no layer. What a level that pays together takes everywhere beyond its layers is each site's, in
    equal parts."""
    before = measured.base.of(axis).get(REST, 0.0)
    terms = [(REST, Term(axis, (), np.array(before)))]
    shared = _shared(measured, known)
    for index, each in enumerate(known):
        if axis == "latency" and each.place.means.together:
            added = [0.0, *(shared[each.place.means.name, level] for level in each.levels)]
        else:
            added = [0.0, *(effect.parts.of(axis).get(REST, 0.0) - before for effect in each.effects)]
        terms.append((REST, Term(axis, (index,), np.array(added))))
    return terms


def _shared(measured: Measured, known: Sequence[_Known]) -> dict[tuple[str, str], float]:
    """Milliseconds of a level everywhere that its sites' own layers do not explain, for each of the sites."""
    found = {}
    for (name, level), parts in measured.levels.items():
        effects = [
            effect
            for each in known if each.place.means.name == name
            for at, effect in zip(each.levels, each.effects, strict=True) if at == level
        ]  # fmt: skip
        own = dict.fromkeys(layer for effect in effects for layer in effect.layers)  # in their order: sums are the same
        changed = sum(parts.latency.get(layer, 0.0) - measured.base.latency.get(layer, 0.0) for layer in own)
        found[name, level] = (parts.latency_ms - measured.base.latency_ms - changed) / max(len(effects), 1)
    return found
