"""Tables brought to what a plan was seen to cost as a whole.

    ln t_l(c) += κ_l · Σ_{s<s'} a_s(c_s) · a_s'(c_s')     a_s(o) = min(ln ρ_{s,l}(o), 0); s, s': sites that it changes
    added(c) = α · added(c)                               α = (seen − Σ_l t_l(c)) / added(c)
    what is left of the difference goes to every plan alike
    damage(c) = β · damage(c) of the first tables         β = seen / predicted by these

An option alone costs what was measured of it; what a plan costs besides comes from options that meet in a layer (a
kernel in eight bits has more of what does not shrink with its width, and a layer in two factors more still). κ_l is
what the plan says of that, and options that meet in the same way are corrected by as much as they do. What makes a
layer slower takes no part in it: with a saving it would look the cheaper, the more the two cost.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressor.plan.parts import REST, Parts
from compressor.plan.problem import Floats, Picks, Term
from compressor.plan.tables import BY_LAYER, Tables

__all__ = ["corrected"]

MOST = 2.0  # of what options that meet add to a layer's logarithm, up or down
LEAST = 1e-3  # of a layer, that an option leaves
LITTLE = 0.01  # sum of products: less tells nothing of κ
ALPHA, BETA = (0.0, 2.0), (0.1, 10.0)


def corrected(
    tables: Tables, first: Tables, picks: Picks, seen: Parts, damage: float | None, share: float = 1.0
) -> Tables:  # fmt: skip
    """The tables with which the plan costs what was seen; `first` are those without any correction. With a `share`,
    that much of what no layer explains."""
    terms = list(tables.terms)
    for axis in BY_LAYER:
        by_layer = [index for index, term in enumerate(terms) if term.axis == axis and tables.layers[index] != REST]
        for index in by_layer:
            now = seen.of(axis).get(tables.layers[index], 0.0)
            terms[index] = _taught(terms[index], first.terms[index], picks, now)
        added = [index for index, t in enumerate(terms) if t.axis == axis and tables.layers[index] == REST and t.scope]
        sure = sum(_value(t, picks) for i, t in enumerate(terms) if t.axis == axis and i not in added)
        total, wanted = sum(_value(terms[index], picks) for index in added), sum(seen.of(axis).values()) - sure
        alpha = float(np.clip(wanted / total, *ALPHA)) if total > 0 else 1.0
        for index in added:
            terms[index] = replace(terms[index], table=(1 + share * (alpha - 1)) * terms[index].table)
        place = next(i for i, t in enumerate(terms) if t.axis == axis and tables.layers[i] == REST and not t.scope)
        terms[place] = replace(terms[place], table=terms[place].table + share * (wanted - alpha * total))
    predicted = sum(_value(term, picks) for term in first.terms if term.axis == "damage")
    if damage and predicted > 0:
        beta = float(np.clip(damage / predicted, *BETA))
        pairs = zip(terms, first.terms, strict=True)
        terms = [replace(t, table=beta * own.table) if t.axis == "damage" else t for t, own in pairs]
    return replace(tables, terms=tuple(terms))


def _value(term: Term, picks: Picks) -> float:
    return float(term.table[tuple(picks[index] for index in term.scope)])


def _taught(term: Term, first: Term, picks: Picks, seen: float) -> Term:
    """The layer's table with which the plan costs there what was seen, where options that meet can explain it."""
    predicted = _value(term, picks)
    if predicted <= 0 or seen <= 0:
        return term
    met = _meeting(first, picks)
    here = float(met[tuple(picks[index] for index in term.scope)])
    if abs(here) < LITTLE:
        return term
    kappa = np.log(seen / predicted) / here
    return replace(term, table=term.table * np.exp(np.clip(kappa * met, -MOST, MOST)))


def _meeting(first: Term, picks: Picks) -> Floats:
    """Of every entry, Σ a_s · a_s' over the pairs of sites that the plan changes: half of the square of the sum less
    the sum of the squares."""
    total, squares = np.zeros(first.table.shape), np.zeros(first.table.shape)
    for axis, site in enumerate(first.scope):
        if picks[site] == 0:
            continue
        alone = first.table[tuple(slice(None) if each == axis else 0 for each in range(len(first.scope)))]
        strength = np.log(np.clip(alone / alone[0], LEAST, 1.0))
        shape = [-1 if each == axis else 1 for each in range(len(first.scope))]
        total = total + strength.reshape(shape)
        squares = squares + strength.reshape(shape) ** 2
    return (total**2 - squares) / 2
