"""Which options of `quantize` go together: one that its format takes no notice of is refused, not passed over.

    int4:bits=3        bits are for mixed            int8:ranges=settle        ranges are for training
    fp16:solver=gptq   fp16 has no codes to solve    percentile=99             with calibrator=percentile alone

What has its default value counts as not given. Recipes are not asked: their sites say everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.errors import RecipeError
from compressor.quant.blocks import BLOCK_FORMATS

__all__ = ["check_together"]

_BLOCKS = (*BLOCK_FORMATS, "mixed")
_INTEGER = ("int8", *_BLOCKS)
_FORMATS = {
    **dict.fromkeys(("mode", "calibrator", "percentile", "samples", "max_error", "slower"), _INTEGER),
    **dict.fromkeys(("solver", "bias", "equalize", "train"), _INTEGER),
    **dict.fromkeys(("block", "norm", "ffsplit"), _BLOCKS),
    **dict.fromkeys(("scale", "rule"), ("ternary",)),
    "bits": ("mixed",),
}
_OF_TRAINING = ("losses", "rate", "ranges")


def check_together(given: Mapping[str, object], usual: Mapping[str, object]) -> None:
    """Raises RecipeError for options (`given`, by name) that the others leave without effect; `usual` are defaults."""
    format, changed = str(given["format"]), {name for name, value in given.items() if value != usual[name]}
    for name in (name for name in given if name in changed):
        formats = _FORMATS.get(name, (format,))
        if format not in formats:
            way_out = f"Leave {name} out, or take {' or '.join(formats)}."
            raise RecipeError(f"{format} takes no notice of {name}", where="quantize", way_out=way_out)
        if name in _OF_TRAINING and given["train"] is None:
            way_out = f"Leave {name} out, or train: train=600steps."
            raise RecipeError(f"{name} is for training alone", where="quantize", way_out=way_out)
    if "percentile" in changed and given["calibrator"] != "percentile":
        raise RecipeError(
            f"calibrator={given['calibrator']} keeps no percentile", where="quantize",
            way_out="Write calibrator=percentile.",
        )  # fmt: skip
    if given["solver"] == "hqq" and "rule" in changed:
        raise RecipeError(
            f"solver=hqq finds scales of its own, not those of rule={given['rule']}", where="quantize",
            way_out="Leave one of them out.",
        )  # fmt: skip
