"""The interval that a model owns to, from what it was off by on networks that were left out of its fit.

    q = the quantile of |ln(predicted / measured)| at  min(1, (n + 1) / n · 0.9)        (split conformal prediction)

Nine of ten new networks are within e^±q of what is predicted for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["half_width"]

_LEVEL = 0.9


def half_width(off: Sequence[float] | NDArray[np.float64]) -> float:
    """q, of the logarithms that networks left out were off by."""
    count = len(off)
    return float(np.quantile(np.abs(off), min(1.0, _LEVEL * (count + 1) / count)))
