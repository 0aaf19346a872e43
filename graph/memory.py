"""Peak activation memory of a schedule: the most bytes that are live while any one kernel runs.

    live(kernel) = Σ bytes of values made up to it and still to be read, its outputs and its workspace included

Inputs live from the start to their last reader, results until the end. Reshapes share their source's memory, values
inside a kernel have none, and a pointwise kernel may write over an input that nobody reads after it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, fx

from compressor.graph.kernels import Kernel, Schedule
from compressor.graph.work import size_of

__all__ = ["peak_activation_bytes"]

_IN_PLACE = ("elementwise",)


def peak_activation_bytes(schedule: Schedule) -> int:
    """Weights are not counted; a weight that is dequantized at each inference is."""
    last = _last_readers(schedule)
    sizes = {node: size_of(schedule.values[node]) for node in last}
    live = {node for node in schedule.inputs if isinstance(schedule.values[node], Tensor)}
    held = sum(size_of(schedule.values[node]) for node in live)
    peak = held
    for position, kernel in enumerate(schedule.kernels):
        ended = {node for node in live if last.get(node, -1) <= position and node not in schedule.results}
        overwritten = _overwritten(kernel, ended, sizes, schedule)
        peak = max(peak, held + kernel.output_bytes - overwritten + kernel.workspace_bytes)
        live = (live - ended) | {node for node in kernel.outputs if last[node] > position or node in schedule.results}
        held = sum(size_of(schedule.values[node]) for node in live)
    return peak


def _last_readers(schedule: Schedule) -> Mapping[fx.Node, int]:
    """By value, the position of the last kernel that reads it; that of its own kernel when none does."""
    last: dict[fx.Node, int] = {}
    for position, kernel in enumerate(schedule.kernels):
        for node in (*kernel.outputs, *kernel.inputs, *kernel.weights):
            last[node] = position
    return last


def _overwritten(kernel: Kernel, ended: set[fx.Node], sizes: Mapping[fx.Node, int], schedule: Schedule) -> int:
    """Bytes of the output of a pointwise kernel that land in an input of the same size which ends here."""
    if kernel.kind not in _IN_PLACE or len(kernel.outputs) != 1:
        return 0
    mine = [node for node in kernel.inputs if node in ended and node not in schedule.inputs]
    return kernel.output_bytes if any(sizes[node] == kernel.output_bytes for node in mine) else 0
