"""The layers behind removed activations, fitted in closed form to what they gave before.

    min over V, c   ‖V·x̃ + c − y‖² + λ‖V − W‖²        x̃: what the layer reads now, y: what it made in the original

Layer by layer in the order of execution, both programs in step, so that a later fit knows of the earlier ones. Grouped
convolutions stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional

from compressor.graph import edit
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.folding.layers import Layer, layer_of
from compressor.passes.folding.rule import Bench
from compressor.passes.reading.fit import fitted
from compressor.passes.reading.matrix import from_matrix, results_of, rows_of, to_matrix

__all__ = ["refit"]

ROWS = 16384  # equations a layer
WIDEST = 6144  # columns of a layer that is solved for


def refit(program: Program, dense: Program, calls: Collection[str], batch: Batch) -> Program:
    """The program with these layers (names of calls, the same in both) fitted on a batch."""
    result = edit.begin(program)
    bench, theirs = Bench(result), {node.name: node for node in dense.graph.nodes}
    ours, original = Stepper(result, result.flatten(batch)), Stepper(dense, dense.flatten(batch))
    with torch.no_grad():
        for node in [node for node in result.graph.nodes if node.op != "output"]:
            layer = layer_of(bench, node) if node.name in calls else None
            if layer is not None and _fits(bench, layer):
                original.run_to(theirs[node.name])
                _fit(bench, layer, ours.argument(layer.source), original.argument(theirs[node.name]))
            ours.step()
    return edit.finish(result)


def _fits(bench: Bench, layer: Layer) -> bool:
    plain = layer.groups == 1 and not layer.transposed and layer.blocked(bench) is None
    return plain and layer.weight.meta["val"][0].numel() < WIDEST


def _fit(bench: Bench, layer: Layer, data: Tensor, wanted: Tensor) -> None:
    """A column of ones stands for the bias."""
    stored, bias = edit.tensor_of(bench.program, layer.weight), layer.tensors(bench)[1]
    assert stored is not None
    weight, kind = stored.detach(), "conv" if layer.spatial else "linear"
    rows = rows_of(layer.node, data, weight, kind, ROWS)[0].float()
    flat = to_matrix(weight, kind)[0].float()
    residual = results_of(layer.node, wanted, kind, ROWS).float() - functional.linear(rows, flat, bias)
    ones = rows.square().mean().sqrt().clamp_min(1e-12)  # as large as the other columns, for the ridge
    step = fitted(torch.cat([rows, ones.expand(len(rows), 1)], 1), residual)
    if step is None:
        return
    moved = ones * step[:, -1]
    new = from_matrix((flat + step[:, :-1])[None], weight, kind)
    layer.store(bench, new.reshape(1, *new.shape[:2], -1), moved if bias is None else bias + moved)
