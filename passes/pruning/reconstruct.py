"""Let the weights that stay make up for those that went, layer by layer, in closed form.

    min over V   ‖V·x̃ + b − y‖² + λ‖V − W‖²      ⇒      V = W + (y − W·x̃ − b)·x̃ᵀ · (x̃·x̃ᵀ + λI)⁻¹

x̃ is what a layer of the smaller program reads (its earlier layers already corrected), y what the same layer of the
original computed, W its weights after the cut. The second-order correction of SparseGPT (Frantar, Alistarh, 2023,
arXiv:2301.00774) for whole columns, as ThiNet does (Luo et al., 2017, arXiv:1707.06342). Both programs run once, in
step with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.nn import functional

from compressor.graph.contract import Batch, Progress
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import argument, attribute, set_tensor, tensor_of
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.graph.work import kind_of
from compressor.passes.reading.fit import fitted
from compressor.passes.reading.matrix import from_matrix, results_of, rows_of, to_matrix

__all__ = ["fitted_layers", "reconstruct"]

ROWS = 16384  # equations a layer
WIDEST = 6144  # columns of a layer that is solved for


def reconstruct(removal: Removal, smaller: Program, batches: Sequence[Batch], progress: Progress) -> Program:
    """`smaller` (the cut of `removal`) with every layer's weights fitted to what the original layer computed."""
    dense = removal.dimensions.program
    batch = _joined(dense, batches)
    result = smaller.copy()
    ours, theirs = Stepper(result, result.flatten(batch)), Stepper(dense, dense.flatten(batch))
    layers = fitted_layers(result) & _moved(result, dense)
    old = {node.name: node for node in dense.graph.nodes}
    nodes = [node for node in result.graph.nodes if node.op != "output"]
    with torch.no_grad():
        for node in progress.over(nodes, "reconstructing"):
            if node in layers:
                same = old[node.name]
                theirs.run_to(same)
                wanted = removal.sliced(theirs.argument(same), removal.dimensions.walk.of(same))
                _fit(result, node, ours.argument(node.args[0]), wanted)
            ours.step()
    result.module.recompile()
    return result


def _moved(program: Program, before: Program) -> set[fx.Node]:
    """Nodes that compute something else than they did: some stored tensor that they depend on is another."""
    tensors, found = before.tensors(), set[fx.Node]()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            stored, old = program.get(str(node.target)), tensors.get(str(node.target))
            same = old is not None and stored.shape == old.shape and torch.equal(stored, old)
        else:
            same = not any(source in found for source in node.all_input_nodes)
        if not same:
            found.add(node)
    return found


def fitted_layers(program: Program) -> set[fx.Node]:
    """Linear layers and ungrouped convolutions whose stored weight no other node reads."""
    readers: dict[str | None, int] = {}
    for node in program.graph.nodes:
        for source in node.all_input_nodes:
            readers[attribute(source)] = readers.get(attribute(source), 0) + 1
    found = set()
    for node in program.nodes():
        kind = kind_of(node)
        if kind not in ("linear", "conv1d", "conv2d") or "addmm" in str(node.target):
            continue
        weight = tensor_of(program, node.args[1])
        alone = weight is not None and readers[attribute(node.args[1])] == 1
        plain = kind == "linear" or int(argument(node, "groups")) == 1
        if alone and plain and weight is not None and weight[0].numel() <= WIDEST and weight.dim() > 1:
            found.add(node)
    return found


def _fit(program: Program, node: fx.Node, data: Tensor, wanted: Tensor) -> None:
    weight = tensor_of(program, node.args[1])
    if weight is None:
        return
    bias = tensor_of(program, argument(node, "bias"))
    kind = "linear" if kind_of(node) == "linear" else "conv"
    inputs, outputs = rows_of(node, data, weight, kind, ROWS)[0].float(), results_of(node, wanted, kind, ROWS).float()
    flat = to_matrix(weight.detach(), kind)[0].float()
    residual = functional.linear(inputs, flat).neg_().add_(outputs)
    if bias is not None:
        residual -= bias.detach().float()
    step = fitted(inputs, residual)
    if step is not None:
        set_tensor(program, str(attribute(node.args[1])), from_matrix((flat + step)[None], weight, kind))


def _joined(program: Program, batches: Sequence[Batch]) -> Batch:
    """All batches as one, where they differ in nothing but their number of samples; else the first."""
    names = [spec.name for spec in program.inputs]
    shapes = {tuple(batch[name].shape[1:] for name in names) for batch in batches}
    dynamic = all(spec.shape and spec.shape[0] == program.inputs[0].shape[0] for spec in program.inputs)
    if len(shapes) != 1 or not dynamic or not isinstance(program.inputs[0].shape[0], str):
        return batches[0]
    return {name: torch.cat([batch[name] for batch in batches]) for name in names}
