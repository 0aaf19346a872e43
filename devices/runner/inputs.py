"""A job's inputs as arrays: drawn at random, or taken from an archive without unpickling anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["arrays", "drawn"]


def arrays(inputs: Mapping[str, Mapping[str, Any]], folder: str) -> dict[str, Any]:
    """Arrays by name; paths are relative to `folder`. Raises ValueError, KeyError or OSError for what is no input."""
    return {name: _array(name, spec, folder) for name, spec in inputs.items()}


def _array(name: str, spec: Mapping[str, Any], folder: str) -> Any:
    if "npz" not in spec:
        return drawn(spec)
    with np.load(os.path.join(folder, spec["npz"]), allow_pickle=False) as archive:
        array = archive[spec.get("key", name)]
    return array if "batch" not in spec else _sized(array, int(spec["batch"]))


def _sized(array: Any, batch: int) -> Any:
    """The first dimension cut, or repeated from its start, to `batch`."""
    return np.ascontiguousarray(array[np.arange(batch) % array.shape[0]])


def drawn(spec: Mapping[str, Any]) -> Any:
    """An array of the shape, dtype and range that a spec says. Raises ValueError for a dtype that has none."""
    random, dtype = np.random.default_rng(0), np.dtype(spec.get("dtype", "float32"))
    shape, low, high = tuple(spec["shape"]), spec.get("low", 0), spec.get("high", 1)
    if dtype == np.dtype(bool):
        return random.integers(0, 2, shape).astype(bool)
    if np.issubdtype(dtype, np.integer):
        return random.integers(int(low), max(int(high), int(low) + 1), shape).astype(dtype)
    if not np.issubdtype(dtype, np.floating):
        raise ValueError(f"no inputs of dtype {dtype} are drawn")
    return random.uniform(low, high, shape).astype(dtype)
