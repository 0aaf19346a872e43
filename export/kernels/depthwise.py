"""A depthwise convolution of codes inside a relax module: channels last, each in a lane of its own.

    Σ[n, y, x, c] = Σ_{ky, kx} q[n, y·s + ky·d, x·s + kx·d, c] · w[ky, kx, c]          int32, exact
    y = act(float(Σ + offset[c]) · (s_q · s_w[c]) + b[c])

There is no sum over channels that a dot product would take, so it is TVM's own loops (`tvm_loops.py` runs channels in
vectors), and what finishes the sums fuses with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from tvm import relax, te

from compressor.export.kernels.module import constant
from compressor.export.kernels.patches import Window

__all__ = ["emit_depthwise"]


def emit_depthwise(
    builder: Any, q: Any, window: Window, weight: Tensor, scales: Tensor, offsets: Tensor, bias: Tensor | None = None,
    *, relu: bool = False,
) -> Any:  # fmt: skip
    """Emit it into a relax `builder`'s function; q int8 (n, height, width, channels), padding included → the relax
    variable (n, down, across, channels) float32.

    `weight` (channels, Ky, Kx) int8; by channel `scales` of the sums, `offsets` added to them in whole numbers, `bias`.
    """
    down, across = window.places

    def summed(q: Any, w: Any) -> Any:
        rows, columns = (te.reduce_axis((0, size), name) for size, name in zip(window.kernel, "yx", strict=True))
        strides, steps = window.stride, window.dilation

        def one(n: Any, y: Any, x: Any, c: Any) -> Any:
            place = y * strides[0] + rows * steps[0], x * strides[1] + columns * steps[1]
            product = q[n, *place, c].astype("int32") * w[rows, columns, c].astype("int32")
            return te.sum(product, axis=[rows, columns])

        return te.compute((q.shape[0], down, across, window.channels), one, name="depthwise")

    sums = builder.emit_te(summed, q, constant(weight.permute(1, 2, 0)), primfunc_name_hint="depthwise")
    whole = builder.emit(relax.op.add(sums, constant(offsets.to(torch.int32))))
    y = builder.emit(relax.op.multiply(relax.op.astype(whole, "float32"), constant(scales)))
    y = y if bias is None else builder.emit(relax.op.add(y, constant(bias)))
    return builder.emit(relax.op.nn.relu(y)) if relu else y
