"""The settings of a group, as recipes write them:

[sites."blocks.0"]   units = "blocks.0 blocks.1", part = "block", weights = "mean", norms = "own", repeat = true
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.sharing.units import Norms, Part

__all__ = ["Told", "parse_told"]

_KEYS = {"units", "part", "weights", "norms", "repeat"}


@dataclass(frozen=True)
class Told:
    """A group by the names of its units; `weights` is one of them, "mean" or "merged"."""

    units: tuple[str, ...]
    part: Part
    weights: str
    norms: Norms
    repeat: bool

    def setting(self) -> Setting:
        return {
            "units": " ".join(self.units), "part": self.part, "weights": self.weights, "norms": self.norms,
            "repeat": self.repeat,
        }  # fmt: skip


def parse_told(site: str, setting: Setting) -> Told:
    """Raises RecipeError for a key or a value that a group does not have."""
    where = f"share: site {site!r}"
    if missing := sorted(_KEYS ^ set(setting)):
        word = "unknown" if missing[0] in setting else "missing"
        raise RecipeError(f"{word} key {missing[0]!r}", where=where, way_out=f"It has {', '.join(sorted(_KEYS))}.")
    units = tuple(str(setting["units"]).split())
    for key, allowed in (("part", get_args(Part)), ("norms", get_args(Norms)), ("repeat", (True, False))):
        if setting[key] not in allowed:
            raise RecipeError(f"{key} is {setting[key]!r}, not one of {', '.join(map(str, allowed))}", where=where)
    if len(set(units)) < max(2, len(units)) or site != units[0]:
        raise RecipeError(
            f"units is {setting['units']!r}", where=where,
            way_out="A group has two units or more, each once, and the site is called after the first.",
        )  # fmt: skip
    return Told(units, setting["part"], str(setting["weights"]), setting["norms"], bool(setting["repeat"]))  # type: ignore[arg-type]
