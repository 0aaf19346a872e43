"""The interval that a model owns to, from what it was off by on networks that were left out of its fit.

    q = the ⌈0.9 · (n + 1)⌉-th smallest |ln(predicted / measured)|, the largest where n < 9   (split conformal)

Nine of ten new networks are within e^±q of what is predicted for them; of fewer than nine left out, n of n + 1 are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["half_width"]

_LEVEL = 0.9


def half_width(off: Sequence[float] | NDArray[np.float64]) -> float:
    """q, of the logarithms that networks left out were off by."""
    sizes = np.sort(np.abs(off))
    return float(sizes[min(math.ceil(_LEVEL * (len(sizes) + 1)), len(sizes)) - 1])
