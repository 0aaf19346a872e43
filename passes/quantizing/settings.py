"""The settings of a quantized site, as recipes write them.

    {format = "int8", weights = "int7", activation = "uint8", low = −2.1, high = 2.6, out_low = 0.0, out_high = 6.0}

    {format = "int4", block = 128, activation = "int8"}

`weights` is the weight's format; `activation`, with the calibrated range of the input (`low`, `high`) and, where the
output is quantized too, of the output (`out_low`, `out_high`), is absent where only weights are integer. They hold
all that calibration found, so a recipe runs again without data; `activation = "auto"` wishes for it to be found. In
blocks of few bits (`block` inputs share a scale) an `activation` is rounded as the kernel runs, and has no range. How
codes are found is said as `rounding.py` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compressor.errors import InputError, RecipeError
from compressor.graph.contract import Setting
from compressor.passes.quantizing.codes.rounding import KEYS, check_rounding
from compressor.passes.quantizing.scaling.ways import check_ways
from compressor.quant.blocks import BLOCK_FORMATS, BLOCK_SIZES
from compressor.quant.formats import Format, format_named

__all__ = [
    "INPUT", "OUTLIERS", "OUTPUT", "WISH", "activation_format", "block_of", "bounds", "check_settings", "format_of",
    "is_block", "is_integer", "is_range", "is_static", "is_wish", "spread", "weight_format",
]  # fmt: skip

INPUT, OUTPUT = ("low", "high"), ("out_low", "out_high")
OUTLIERS = ("outliers_above", "outliers_times")  # of inputs with rare large values: outliers.py
SITE_FORMATS = ("int8", "fp16", "bf16", "fp32", *BLOCK_FORMATS)
AUTO = "auto"
WISH: Setting = {"format": "int8", "activation": AUTO}
LARGEST = 3e38  # float32 ends at 3.4e38


def format_of(setting: Setting) -> str:
    return str(setting["format"])


def is_block(setting: Setting) -> bool:
    """Whether the weight is stored in blocks of few bits."""
    return setting.get("format") in BLOCK_FORMATS


def is_integer(setting: Setting) -> bool:
    """Whether the weight is stored as integers, of whatever many bits."""
    return setting.get("format") == "int8" or is_block(setting)


def is_wish(setting: Setting) -> bool:
    """Whether it asks for int8 as the pass would make it there, with ranges yet to be found."""
    return setting.get("format") == "int8" and setting.get("activation") == AUTO


def spread(sites: Mapping[str, Setting], layers: Sequence[str]) -> dict[str, Setting]:
    """The settings of layers: one that is said of a module holds for every layer in it that has none of its own."""
    found: dict[str, Setting] = {}
    for site, setting in sites.items():
        within = [] if site in layers else [layer for layer in layers if layer.startswith(f"{site}.")]
        found |= {layer: setting for layer in within if layer not in sites} if within else {site: setting}
    return found


def block_of(setting: Setting) -> int:
    return int(setting["block"])


def is_static(setting: Setting) -> bool:
    """Whether activations are integer too."""
    return INPUT[0] in setting


def weight_format(setting: Setting) -> Format:
    return format_named(str(setting.get("weights", "int8")))


def activation_format(setting: Setting) -> Format:
    return format_named(str(setting["activation"]))


def bounds(setting: Setting, keys: tuple[str, str]) -> tuple[float, float]:
    low, high = (float(setting[key]) for key in keys)
    return low, high


def is_range(low: float, high: float) -> bool:
    """Whether a float32 scale can span it; a mask's smallest float cannot be."""
    return -LARGEST < low <= high < LARGEST


def check_settings(site: str, setting: Setting, *, static: bool, glue: bool) -> None:
    """Raises RecipeError, naming the site and key, for a setting that cannot be carried out.

    `static` says that the site is a layer whose activations can be integer, `glue` that it is an operator between.
    """
    where = f"quantize: site {site!r}"
    if setting.get("format") not in SITE_FORMATS:
        raise RecipeError(f"format is {setting.get('format')!r}, not one of {', '.join(SITE_FORMATS)}", where=where)
    blocks = is_block(setting)
    known = {"format", "block", "activation"} if blocks else {"format", "weights", "activation", *INPUT, *OUTPUT}
    known |= {"equalize", "alpha", *OUTLIERS} if not glue else set()
    known |= set(KEYS) if blocks or setting["format"] == "int8" else set()
    if unknown := set(setting) - known:
        raise RecipeError(f"unknown key {min(unknown)!r}", where=where, way_out=f"Known: {', '.join(sorted(known))}.")
    check_rounding(setting, where)
    check_ways(setting, where)
    if blocks:
        _check_blocks(setting, where)
        return
    for keys in (INPUT, OUTPUT):
        given = [setting.get(key) for key in keys]
        if given != [None, None]:
            numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
            if len(numbers) < 2 or not is_range(*numbers):
                raise RecipeError(f"{' and '.join(keys)} are {given[0]} and {given[1]}, not a range", where=where)
            if "activation" not in setting:
                raise RecipeError("has a range but no activation format", where=where)
    if "activation" in setting and setting["format"] == "int8":
        needed = OUTPUT if glue else INPUT
        if needed[0] not in setting:
            raise RecipeError(f"has an activation format but no {' and '.join(needed)}", where=where)
        if not (static or glue):
            raise RecipeError("only weights can be integer here", where=where, way_out="Remove activation and ranges.")
    elif glue and setting["format"] == "int8":
        raise RecipeError("has no weights, and gives no activation format", where=where)
    for key in ("weights", "activation"):
        try:
            if key in setting and not format_named(str(setting[key])).integer:
                raise RecipeError(f"{key} is {setting[key]!r}, not an integer format", where=where)
        except InputError as error:
            raise RecipeError(error.what, where=f"{where}: {key}", way_out=error.way_out) from error


def _check_blocks(setting: Setting, where: str) -> None:
    if isinstance(setting.get("block"), bool) or setting.get("block") not in BLOCK_SIZES:
        sizes = ", ".join(map(str, BLOCK_SIZES))
        raise RecipeError(f"block is {setting.get('block')!r}, not one of {sizes}", where=where)
    if setting.get("activation", "int8") != "int8":
        raise RecipeError(f"activation is {setting['activation']!r}; beside blocks it can be int8 alone", where=where)
