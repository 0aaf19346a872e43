"""The settings of a sparse layer, as recipes write them: `pattern = "2of4", score = "wanda", update = true`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.sparsifying.pattern import Pattern, parse_pattern
from compressor.passes.sparsifying.scores import Score

__all__ = ["Choice", "choose", "parse_choice"]


@dataclass(frozen=True)
class Choice:
    """What is done to one layer."""

    pattern: Pattern
    score: str
    update: bool

    @property
    def asks_for_inputs(self) -> bool:
        return self.update or self.score == "wanda"

    def setting(self) -> Setting:
        return {"pattern": self.pattern.text, "score": self.score, "update": self.update}


def choose(pattern: Pattern, score: str, update: bool, *, data: bool, where: str) -> Choice:
    """Wanda and the update where there is data. Raises RecipeError for wanda without."""
    if score == "wanda" and not data:
        raise RecipeError(
            "wanda weighs weights by what they multiply, and there is no calibration data",
            where=where,
            way_out="Give --data, or score=magnitude.",
        )
    found = ("wanda" if data else "magnitude") if score == "auto" else score
    return Choice(pattern, found, update and data)


def parse_choice(site: str, setting: Setting, *, data: bool) -> Choice:
    """What a setting asks for. Raises RecipeError, naming the site, for what cannot be read."""
    where = f"sparsify: site {site!r}"
    unknown = sorted(set(setting) - {"pattern", "score", "update"})
    if unknown or "pattern" not in setting:
        what = f"there is no setting {unknown[0]!r}" if unknown else "there is no pattern"
        raise RecipeError(what, where=where, way_out='pattern = "2of4", and if need be score and update')
    score, update = setting.get("score", "auto"), setting.get("update", True)
    if score not in get_args(Score) or not isinstance(update, bool):
        wrong = f"update is {update!r}" if score in get_args(Score) else f"score is {score!r}"
        way_out = f"score is one of {', '.join(get_args(Score))}; update is true or false."
        raise RecipeError(wrong, where=where, way_out=way_out)
    return choose(parse_pattern(str(setting["pattern"]), where), str(score), update, data=data, where=where)
