"""Calibration: run the float program on real batches and let a calibrator watch each value of interest.

Only the watched statistics are kept; the interpreter frees every activation after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from compressor.errors import InputError
from compressor.graph.contract import Batch
from compressor.graph.edit import layer_name
from compressor.graph.program import Program
from compressor.quant.calibrators import Calibrator

__all__ = ["limited", "observe", "visit"]

Visit = Callable[[fx.Node, tuple[Any, ...], Any], None]


def observe(program: Program, batches: Iterable[Batch], watched: Mapping[fx.Node, Calibrator]) -> None:
    """Show each watched node's values to its calibrator.

    Raises InputError, naming the layer, where a value is NaN or infinite or a batch does not fit the model.
    """

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        if node in watched and isinstance(value, Tensor):
            try:
                watched[node].observe(value)
            except InputError as error:
                raise InputError(error.what, where=layer_name(node), way_out=error.way_out) from error

    visit(program, batches, look)


def visit(program: Program, batches: Iterable[Batch], look: Visit) -> None:
    """Run the program on each batch and call `look(node, args, value)` after every node."""
    interpreter = _Visitor(program.module, look)
    with torch.no_grad():
        for batch in batches:
            interpreter.run(*program.flatten(batch))


def limited(program: Program, batches: Sequence[Batch], samples: int) -> list[Batch]:
    """The first batches that together hold at most `samples` samples; the last one is cut.

    Samples lie along the first dimension where all inputs share one that is dynamic; else batches stay whole.
    """
    leading = {spec.shape[0] if spec.shape else 0 for spec in program.inputs}
    divisible = len(leading) == 1 and isinstance(leading.pop(), str)
    return list(_limit(batches, samples, divisible))


def _limit(batches: Sequence[Batch], samples: int, divisible: bool) -> Iterator[Batch]:
    for batch in batches:
        if samples <= 0:
            return
        count = len(next(iter(batch.values()))) if divisible else 1
        yield {name: tensor[:samples] for name, tensor in batch.items()} if samples < count else batch
        samples -= max(count, 1)


class _Visitor(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, look: Visit) -> None:
        super().__init__(module)
        self.look = look

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        args, _ = self.fetch_args_kwargs_from_env(n)
        self.look(n, args, value)
        return value
