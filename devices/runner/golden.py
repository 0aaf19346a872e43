"""How far outputs are from the golden ones.

    floats:    ‖actual − golden‖ / ‖golden‖        equal values, NaN and infinity among them, count as no difference
    integers:  share of elements that differ, less the share `ties` that equal scores may cost

These are the figures of `compress verify`; they are computed here once more because a board has nothing but NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["output_error"]


def output_error(actual: Any, golden: Any, ties: float) -> float:
    """The error of one output; infinite where the shape is another."""
    if actual.shape != golden.shape:
        return float("inf")
    if not np.issubdtype(golden.dtype, np.floating):
        return max(0.0, float(np.mean(actual != golden)) - ties) if golden.size else 0.0
    a, b = actual.astype(np.float64), golden.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = float(np.linalg.norm(np.where(same, 0.0, a - b)))
    scale = float(np.linalg.norm(np.where(np.isfinite(b), b, 0.0)))
    return error / scale if scale else error
