"""How a layer's inputs were scaled, as recipes write it.

    {equalize = "smooth", alpha = 0.5}    {equalize = "cross-layer"}    {equalize = "smooth 0.5, none, cross-layer"}

The last is that of a layer whose channels come from several layers before it, as behind a concatenation: one word for
each of them, in the program's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import RecipeError
from compressor.graph.contract import Setting, Value

__all__ = ["How", "check_ways", "ways_of", "written"]

How = tuple[str, float]  # "smooth" or "awq" and its α, or "cross-layer" and 0
EQUALIZED = ("smooth", "awq", "cross-layer")
_NONE = "none"


def written(ways: Sequence[How | None]) -> dict[str, Value]:
    """What a setting has to say of these, one of which at least is not None."""
    first = ways[0]
    if first is not None and all(way == first for way in ways):
        return {"equalize": first[0], **({"alpha": first[1]} if first[1] else {})}
    words = (_NONE if way is None else f"{way[0]} {way[1]:g}" if way[1] else way[0] for way in ways)
    return {"equalize": ", ".join(words)}


def ways_of(setting: Setting, count: int, where: str = "") -> list[How | None]:
    """The way of each of `count` layers before; a single word is all theirs.

    Raises RecipeError for another number of words.
    """
    words = str(setting["equalize"]).split(",")
    if len(words) == 1:
        return [(words[0], float(setting.get("alpha", 0.0)))] * count
    if len(words) != count:
        raise RecipeError(f"equalize has {len(words)} words for {count} layers before it", where=where)
    return [_way(word) for word in words]


def check_ways(setting: Setting, where: str) -> None:
    """Raises RecipeError for a value that there is not."""
    how, alpha = setting.get("equalize"), setting.get("alpha")
    if how is None and alpha is None:
        return
    if "," in str(how):
        if alpha is not None:
            raise RecipeError("alpha stands in equalize where that is a list", where=where)
        for name, number in map(_parts, str(how).split(",")):
            if (name, number) != (_NONE, ""):
                _check(name, _number(number), where)
        return
    _check(how, alpha, where)


def _check(how: Value | None, alpha: Value | None, where: str) -> None:
    if how not in EQUALIZED:
        raise RecipeError(f"equalize is {how!r}, not one of {', '.join(EQUALIZED)}", where=where)
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 <= alpha <= 1
    if number == (how == "cross-layer") or (alpha is not None and not number):
        raise RecipeError(f"alpha is {alpha!r}; smooth and awq have one between 0 and 1", where=where)


def _way(word: str) -> How | None:
    name, number = _parts(word)
    return None if name == _NONE else (name, float(number or 0.0))


def _parts(word: str) -> tuple[str, str]:
    name, _, number = word.strip().partition(" ")
    return name, number


def _number(text: str) -> Value | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
