"""Let the columns of a matrix that stay make up for those that go: the second-order correction of one removal.

    min over V   ‖V_k·x_k − W·x‖² + λ‖V_k − W_k‖²      ⇒      V_k = W_k + W_g · H_gk · (H_kk + λI)⁻¹,   H = x·xᵀ

g are the inputs that go, k those that stay. (SparseGPT, Frantar, Alistarh, 2023, arXiv:2301.00774; EfficientLLM,
Xing et al., 2025, arXiv:2502.06663, corrects the layers that read what a removal took away.)
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, fx

from compressor.graph.program import Program
from compressor.graph.work import kind_of
from compressor.passes.pruning.activations import input_axis
from compressor.passes.pruning.reconstruct import fitted_layers
from compressor.passes.pruning.rows import UnitRows
from compressor.passes.reading.matrix import from_matrix, rows_of, to_matrix

__all__ = ["Correction", "corrected"]

RIDGE = 1e-2  # λ, relative to the mean of the diagonal
ROWS = 2048  # equations a layer


def corrected(weight: Tensor, inputs: Tensor, gone: Tensor) -> Tensor:
    """A matrix [outputs, columns] whose columns `gone` are zero and whose others took over what they can.

    `inputs` are rows of what the columns are multiplied with.
    """
    data, matrix = inputs.double(), weight.double()
    gram = data.T @ data
    kept = ~gone
    square = gram[kept][:, kept]
    square.diagonal().add_(RIDGE * square.diagonal().mean().clamp_min(1e-12))
    step = matrix[:, gone] @ torch.linalg.solve(square, gram[kept][:, gone]).T
    result = torch.zeros_like(matrix)
    result[:, kept] = matrix[:, kept] + (step if bool(torch.isfinite(step).all()) else 0.0)
    return result.to(weight.dtype)


class Correction:
    """The layers of a program that read some units, and what they read."""

    def __init__(self, program: Program, rows: UnitRows) -> None:
        """`rows` were made of the analysis of this program."""
        walk = rows.dimensions.walk
        found = [(node, rows.index(walk.of(node.args[0])[input_axis(node)])) for node in fitted_layers(program)]
        self.columns = {node.name: index for node, index in found if index is not None}
        self.nodes = {node.name: node for node, _ in found}

    def apply(self, module: fx.GraphModule, inputs: tuple[Tensor, ...], going: Tensor) -> None:
        """Correct the stored weights of the layers that read the units for which `going` is true.

        `module` is a copy of the program that computes with them; nodes are matched by name.
        """
        affected = {
            name: padded[index].any(0)
            for name, index in self.columns.items()
            if bool((padded := torch.cat([going.new_zeros(1), going]))[index].any())
        }
        if not affected:
            return
        seen = _Reader(module, affected)
        with torch.no_grad():
            seen.run(*inputs)
            for name, gone in affected.items():
                node = self.nodes[name]
                weight = seen.weights[name]
                kind = "linear" if kind_of(node) == "linear" else "conv"
                [data] = rows_of(node, seen.data[name], weight, kind, ROWS)
                [flat] = to_matrix(weight, kind)
                columns = gone.repeat(flat.shape[1] // len(gone))  # the channels at one kernel position after the other
                weight.copy_(from_matrix(corrected(flat, data, columns)[None], weight, kind))


class _Reader(fx.Interpreter):
    """Keeps what the named layers read, and their weights."""

    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self.names = names
        self.data: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        if n.name in self.names:
            args, _ = self.fetch_args_kwargs_from_env(n)
            self.data[n.name], self.weights[n.name] = args[0], args[1].detach()
        return super().run_node(n)
