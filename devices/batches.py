"""Which of a bundle's inputs take batches of any size, and how many samples a timed run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.export.verify import Contents

__all__ = ["dynamic_inputs", "rows"]


def rows(bundle: Contents, batch: int) -> int:
    """Samples in one timed run: `batch` where the first dimension is dynamic, else what the model has fixed."""
    dynamic = dynamic_inputs(bundle)
    for name in bundle.inputs:
        array = bundle.golden[name]
        if array.ndim:
            return batch if name in dynamic else int(array.shape[0])
    return 1


def dynamic_inputs(bundle: Contents) -> set[str]:
    """Inputs whose first dimension may be any size."""
    entries: Sequence[Mapping[str, Any]] = bundle.manifest["inputs"]
    shapes = {str(entry["name"]): entry.get("shape") for entry in entries}
    return {name for name, shape in shapes.items() if isinstance(shape, list) and shape and isinstance(shape[0], str)}
