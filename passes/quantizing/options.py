"""Which options of `quantize` go together: one that its format takes no notice of is refused, not passed over.

    int4:bits=3        bits are for mixed            int8:ranges=settle        ranges are for training
    fp16:solver=gptq   fp16 has no codes to solve    percentile=99             with calibrator=percentile alone

How it is refused: `passes/reading/options.py`.
"""

from __future__ import annotations

from compressor.graph.contract import Pass
from compressor.passes.reading.options import refuse_idle
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


def check_together(given: Pass, format: str, *, trained: bool, calibrator: str, solver: str) -> None:
    """Raises RecipeError for options of `quantize` that the others, named here, leave without effect."""
    for name, formats in _FORMATS.items():
        if format not in formats:
            refuse_idle(given, (name,), format, f"take {' or '.join(formats)}")
    if not trained:
        refuse_idle(given, _OF_TRAINING, "train=none", "train: train=600steps")
    if calibrator != "percentile":
        refuse_idle(given, ("percentile",), f"calibrator={calibrator}", "take calibrator=percentile")
    if solver == "hqq":  # its scales are its own
        refuse_idle(given, ("rule",), "solver=hqq", "take another solver")
