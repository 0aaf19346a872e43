"""Tables brought to what a plan was seen to cost as a whole.

    t_l(c) = t_l · (Π_s ρ_{s,l}(c_s))^γ_l          γ_l = ln(seen_l / t_l) / ln(predicted_l / t_l)
    added(c) = α · added(c)                         α = (seen − Σ_l t_l(c)) / added(c)
    what is left of the difference goes to every plan alike
    damage(c) = β · damage(c) of the first tables   β = seen / predicted by these

A kernel in eight bits has more of what does not shrink with its width than the same in floats: γ < 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressor.plan.parts import REST, Parts
from compressor.plan.problem import Picks, Term
from compressor.plan.tables import BY_LAYER, Tables

__all__ = ["corrected"]

LEAST, MOST = 0.25, 2.0  # of γ
NEAR = 0.02  # a layer that nearly stays as it was tells nothing of its exponent
ALPHA, BETA = (0.0, 2.0), (0.1, 10.0)


def corrected(
    tables: Tables, first: Tables, picks: Picks, base: Parts, seen: Parts, damage: float | None, share: float = 1.0
) -> Tables:  # fmt: skip
    """The tables with which the plan costs what was seen; `first` are those without any correction. With a `share`,
    that much of what no layer explains."""
    terms = list(tables.terms)
    for axis in BY_LAYER:
        by_layer = [index for index, term in enumerate(terms) if term.axis == axis and tables.layers[index] != REST]
        for index in by_layer:
            layer = tables.layers[index]
            terms[index] = _bent(terms[index], picks, base.of(axis)[layer], seen.of(axis).get(layer, 0.0))
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


def _bent(term: Term, picks: Picks, base: float, seen: float) -> Term:
    predicted = _value(term, picks)
    if base <= 0 or predicted <= 0 or seen <= 0 or abs(predicted / base - 1) < NEAR:
        return term
    gamma = float(np.clip(np.log(seen / base) / np.log(predicted / base), LEAST, MOST))
    return replace(term, table=base * (np.maximum(term.table, 0.0) / base) ** gamma)
