"""Why a plan does what it does, site by site, in a line each: what the option saves, and what it costs.

−25%: −0.031 ms, −84 kB, damage 0.0004
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.passlist import PassSpec
from compressor.plan.parts import Parts
from compressor.plan.problem import Picks
from compressor.plan.swap import Effect, Measured
from compressor.plan.tables import Tables

__all__ = ["with_reasons"]


def with_reasons(specs: Sequence[PassSpec], picks: Picks, tables: Tables, measured: Measured) -> list[PassSpec]:
    """The passes of a plan, each with its sites' reasons. Figures are of the option alone in the original; of what
    pays only beside its like, the time is that of all sites together."""
    told: dict[tuple[str, str], str] = {}
    for place, numbers, pick in zip(tables.places, tables.numbers, picks, strict=True):
        effect = measured.effects[place.name][numbers[pick - 1]] if pick else None
        if effect is not None:
            level = place.options[numbers[pick - 1]].level
            everywhere = measured.levels.get((place.means.name, level))
            told[place.means.name, place.site] = _reason(level, effect, measured.base, everywhere)
    return [replace(spec, reasons={site: told[spec.name, site] for site in spec.sites}) for spec in specs]


def _reason(level: str, effect: Effect, base: Parts, everywhere: Parts | None) -> str:
    parts = effect.parts if everywhere is None else everywhere
    layers = list(base.latency) if everywhere is None else effect.layers
    time = sum(parts.latency.get(layer, 0.0) - base.latency.get(layer, 0.0) for layer in layers)
    stored = effect.parts.bytes - base.bytes
    told = f"{level}: {time:+.4f} ms, {stored / 1e3:+.1f} kB, damage {effect.damage:.2g}"
    return told.replace(" -", " −")
