"""A linear layer with packed weights inside a relax module: its input rounded, then multiplied.

    y (…, N) = act(x (…, K) · Ŵᵀ + b)    →    call_tir(round_rows, x), call_tir(product, codes of x, Ŵ, b)

Weights are constants of the module, so that they are packed once, when it is compiled, and lie in the library. Rows are
what all leading dimensions make together, known or symbolic. Layers of one shape share their functions, and those that
round the same input share its codes, if the module's common subexpressions are eliminated.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import torch
from tvm import relax, tirx

from compressor.export.kernels.activations import Rounding, round_rows
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.packing import Packed, pack_bias
from compressor.export.kernels.product import product

__all__ = ["emit_linear"]


def emit_linear(
    builder: Any,
    isa: Isa,
    x: Any,
    packed: Packed,
    bias: torch.Tensor | None = None,
    *,
    relu: bool = False,
    by_block: bool = False,
) -> Any:
    """Emit the layer into a relax `builder`'s function; x (…, K) float32 → the relax variable (…, N).

    `packed` is laid out for `isa`, `bias` (N) as it is; `by_block` rounds x by the blocks of the weights. Raises
    InputError for a bias of another length.
    """
    layout = packed.layout
    *lead, _ = x.ty.shape.values
    rows = functools.reduce(operator.mul, lead, tirx.IntImm("int64", 1))
    known = int(rows) if isinstance(rows, tirx.IntImm) else None
    flat = builder.emit(relax.op.reshape(x, (rows, layout.inputs)))
    how = Rounding(isa, layout, known, by_block=by_block)
    rounding = _added(builder, round_rows(how), "round_rows")
    multiply = _added(builder, product(Product(isa, layout, known, bias is not None, relu, by_block)), "product")
    made = [
        relax.TensorType((rows, layout.stride), "int8"),
        relax.TensorType((rows, how.scales), "float32"),
        relax.TensorType((rows, layout.blocks), "int32"),
    ]
    rounded = builder.emit(relax.call_tir(rounding, [flat], made))
    parts = [builder.emit(relax.TupleGetItem(rounded, index)) for index in range(len(made))]
    stored = [packed.codes, packed.scales, *([] if bias is None else [pack_bias(bias, layout)])]
    constants = [relax.const(tensor.numpy()) for tensor in stored]
    y = relax.call_tir(multiply, [*parts, *constants], relax.TensorType((rows, layout.outputs), "float32"))
    return builder.emit(relax.op.reshape(builder.emit(y), (*lead, layout.outputs)))


def _added(builder: Any, function: Any, name: str) -> Any:
    """In the module, under a name of its own: where the same function is there already, as that one."""
    return builder.add_func(function.without_attr("global_symbol"), name)
