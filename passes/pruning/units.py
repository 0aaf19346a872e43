"""From numbers per weight to numbers per unit: sums over every slice that lives and dies with it.

unit u:  score(u) = Σ over its slices  Σ over the slice  s(w)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from compressor.graph.dimensions.groups import Dimensions

__all__ = ["UnitScores", "add_rows", "sum_by_unit"]

UnitScores = dict[int, float]


def sum_by_unit(dimensions: Dimensions, elements: Mapping[str, Tensor]) -> UnitScores:
    """Sums of `elements` (one tensor a parameter, of its shape) over each unit's slices; signs are kept."""
    scores: UnitScores = {}
    seen: set[int] = set()
    for name, axes in dimensions.tensors.items():
        if name not in elements or id(axes) in seen:
            continue
        seen.add(id(axes))  # tied names are one tensor
        for axis, vector in enumerate(axes):
            if vector is not None:
                others = tuple(a for a in range(elements[name].dim()) if a != axis)
                rows = elements[name].sum(others) if others else elements[name]
                add_rows(scores, dimensions.rows(vector), rows.double().numpy())
    return scores


def add_rows(scores: UnitScores, rows: Mapping[int, npt.NDArray[np.int64]], values: npt.NDArray[np.float64]) -> None:
    """Add the values of its rows to each unit."""
    for atom, places in rows.items():
        scores[atom] = scores.get(atom, 0.0) + float(values[places].sum())
