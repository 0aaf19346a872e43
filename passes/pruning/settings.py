"""The settings of a pruned site, as recipes write them: `remove = "0-3,7"`, places among the dimension's units."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from compressor.errors import RecipeError
from compressor.graph.contract import Setting

__all__ = ["parse_places", "parse_units", "spell_units"]


def spell_units(all_units: Sequence[int], chosen: Collection[int]) -> str:
    """The places of the chosen units, runs joined."""
    picked = set(chosen)
    places = [place for place, unit in enumerate(all_units) if unit in picked]
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def parse_units(site: str, all_units: Sequence[int], setting: Setting) -> list[int]:
    """The units that a setting names. Raises RecipeError, naming the site, for what cannot be read or is not there."""
    text = setting.get("remove")
    where = f"prune: site {site!r}"
    if set(setting) != {"remove"} or not isinstance(text, str):
        raise RecipeError(f"keys are {sorted(setting)}, not remove alone", where=where, way_out='remove = "0-3,7"')
    return [all_units[place] for place in parse_places(text, len(all_units), where, "remove")]


def parse_places(text: object, count: int, where: str, key: str) -> list[int]:
    """The places, each once, that a text like "0-3,7" names among `count`. Raises RecipeError where it does not."""
    way_out = f'{key} = "0-3,7"'
    if not isinstance(text, str):
        raise RecipeError(f"{key} is {text!r}, not places", where=where, way_out=way_out)
    places: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise RecipeError(f"{key} has {part!r}, not a place or a range", where=where, way_out=way_out)
        places.extend(range(int(first), int(last or first) + 1))
    wrong = next((place for place in places if place >= count), None)
    if wrong is not None:
        raise RecipeError(f"there are {count} units, no number {wrong}", where=where)
    return list(dict.fromkeys(places))
