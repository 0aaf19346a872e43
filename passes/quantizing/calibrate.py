"""Calibration: run the float program on real batches and let a calibrator watch each value of interest.

Only the watched statistics are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx

from compressor.errors import InputError
from compressor.graph.contract import Batch
from compressor.graph.edit import layer_name
from compressor.graph.program import Program
from compressor.passes.reading.samples import visit
from compressor.quant.calibrators import Calibrator

__all__ = ["observe"]


def observe(program: Program, batches: Iterable[Batch], watched: Mapping[fx.Node, Calibrator]) -> None:
    """Show each watched node's values to its calibrator.

    Raises InputError, naming the layer, where a value is NaN or infinite or a batch does not fit the model.
    """

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, Tensor):
            try:
                watched[node].observe(value)
            except InputError as error:
                raise InputError(error.what, where=layer_name(node), way_out=error.way_out) from error

    visit(program, batches, look, watched)
