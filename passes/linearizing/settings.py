"""What a recipe keeps of `linearize`: a site a stretch, and how it was trained.

[sites."blocks.2.body.0"]   through = "blocks.2.body.6"         every activation from one layer through another
[sites.training]            budget = "600steps", losses = "output+hidden"
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.errors import RecipeError
from compressor.graph.contract import Setting, Value
from compressor.passes.linearizing.stretches import Stretch
from compressor.passes.linearizing.training import Lesson
from compressor.passes.recover import parse_budget

__all__ = ["TRAINING", "lesson_of", "pairs_of", "setting_of", "training_setting"]

TRAINING = "training"
THROUGH = "through"


def setting_of(stretch: Stretch) -> Setting:
    """The setting at a stretch's first layer."""
    return {THROUGH: stretch.through}


def pairs_of(sites: Mapping[str, Setting]) -> dict[str, str]:
    """First and last layer of each stretch that a recipe names. Raises RecipeError."""
    found = {}
    for site, setting in sites.items():
        if site == TRAINING:
            continue
        if set(setting) != {THROUGH}:
            raise RecipeError(
                f"the setting is {dict(setting)}", where=f"linearize: site {site!r}", way_out='Write through = "LAYER".'
            )
        found[site] = str(setting[THROUGH])
    return found


def training_setting(lesson: Lesson, losses: str, marks: str) -> Setting:
    """The setting that trains the same way again."""
    rate: dict[str, Value] = {} if lesson.rate is None else {"rate": lesson.rate}
    more: dict[str, Value] = {"marks": marks} if marks else {}
    return {"budget": lesson.budget, "losses": losses, **rate, **more}


def lesson_of(sites: Mapping[str, Setting]) -> Lesson | None:
    """How a recipe trains; None where it does not. Raises RecipeError."""
    setting = sites.get(TRAINING)
    if setting is None:
        return None
    where = f"linearize: site {TRAINING!r}"
    if unknown := sorted(set(setting) - {"budget", "losses", "rate", "marks"}):
        raise RecipeError(f"unknown key {unknown[0]!r}", where=where)
    budget, rate = str(setting.get("budget", "")), setting.get("rate")
    parse_budget(budget, where)
    return Lesson(
        budget, str(setting.get("losses", "auto")), None if rate is None else float(rate), str(setting.get("marks", ""))
    )
