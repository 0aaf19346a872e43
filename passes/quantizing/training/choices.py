"""The formats that each layer of a network for several budgets has weights for, as recipes keep them (site `program`).

    {budgets = "3/4.5/6", choices = "up=int2:128/int4:128/int8 head=int4:128/int8"}

Blocks have one size a layer and format: of int8 what stands behind the colon is the weight's own format, where it is
narrower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.quantizing.choosing.candidates import Candidate
from compressor.passes.quantizing.settings import block_of, format_of, is_block
from compressor.passes.quantizing.sites import Layer
from compressor.quant.blocks import BLOCK_SIZES
from compressor.quant.formats import FORMATS

__all__ = ["Choices", "parse_budgets", "parse_choices", "spell_choices", "trained_options"]

Choices = Mapping[str, Sequence[Setting]]
_BLOCKS = ("int2", "int4")
_INT8 = "int8"
_WHERE = "quantize: budgets"


def parse_budgets(text: str) -> tuple[float, ...]:
    """Rising bits a weight, two or more. Raises RecipeError."""
    try:
        found = tuple(float(part) for part in text.split("/"))
    except ValueError:
        found = ()
    if len(found) < 2 or any(not 0 < bits <= 32 for bits in found) or list(found) != sorted(set(found)):
        what = f"budgets are {text!r}, not two or more rising numbers of bits a weight"
        raise RecipeError(what, where=_WHERE, way_out="Write budgets=3/4.5/6.")
    return found


def trained_options(
    groups: Sequence[Sequence[Layer]], options: Mapping[str, Sequence[Candidate]]
) -> dict[str, list[Candidate]]:
    """Of every group's candidates those that get weights of their own, the fewest bytes first: int8, int4 and int2, the
    latter in the largest blocks that there are."""
    found: dict[str, list[Candidate]] = {}
    for group in groups:
        every = options[group[0].name]
        kinds = {format: [each for each in every if each.format == format] for format in (*_BLOCKS, _INT8)}
        least = [min(each, key=lambda one: one.bytes) for each in kinds.values() if each]
        if least:
            found[group[0].name] = sorted(least, key=lambda one: one.bytes)
    return found


def spell_choices(options: Mapping[str, Sequence[Candidate]]) -> str:
    """As a recipe writes them."""
    return " ".join(f"{name}={'/'.join(_spelled(each.setting) for each in found)}" for name, found in options.items())


def parse_choices(text: str) -> Choices:
    """The inverse, of weights' formats alone. Raises RecipeError for what is none."""
    found: dict[str, list[Setting]] = {}
    for part in text.split():
        name, _, formats = part.rpartition("=")
        found[name] = [_read(each, part) for each in formats.split("/")]
        if not name or len({format_of(each) for each in found[name]}) < len(found[name]):
            raise RecipeError(f"choices have {part!r}, not a layer's formats, each once", where=_WHERE)
    return found


def _spelled(setting: Setting) -> str:
    if is_block(setting):
        return f"{format_of(setting)}:{block_of(setting)}"
    narrow = setting.get("weights", _INT8)
    return _INT8 if narrow == _INT8 else f"{_INT8}:{narrow}"


def _read(text: str, part: str) -> Setting:
    format, _, more = text.partition(":")
    if format in _BLOCKS and more.isdigit() and int(more) in BLOCK_SIZES:
        return {"format": format, "block": int(more)}
    weights = more or _INT8
    if format == _INT8 and weights in FORMATS and FORMATS[weights].integer:
        return {"format": _INT8, "weights": weights}
    raise RecipeError(f"choices have {text!r}, which is no format to train", where=f"{_WHERE}: {part}")
