"""Kernels compiled for this machine and run, beside numpy's integers of 64 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.graph.quiet import quiet

with quiet():
    import tvm

    from compressor.export.kernels.activations import Rounding, round_rows
    from compressor.export.kernels.epilogue import PLAIN, Ending
    from compressor.export.kernels.isa import ISAS, Isa
    from compressor.export.kernels.outputs import Product
    from compressor.export.kernels.packing import Packed, pack_outputs, pack_weights
from compressor.export.kernels.product import product
from compressor.export.tvm_boards import this_processor

__all__ = [
    "RELU",
    "Given",
    "arguments",
    "assembly",
    "compiled",
    "here",
    "multiplied",
    "product_of",
    "random_given",
    "reference",
    "rounded",
    "tvm_features",
]

RELU = Ending(low=0.0)
OWN = this_processor()
HOST: Mapping[str, Any] = {"kind": "llvm", "mcpu": OWN.cpu, "mattr": list(OWN.features)}


def here() -> list[Isa]:
    """The instruction sets that this machine has."""
    return [isa for isa in ISAS if isa.features <= tvm_features(HOST)]


def tvm_features(target: Mapping[str, Any]) -> set[str]:
    """What LLVM says that a target's processor has."""
    asked = tvm.get_global_func("target.llvm_get_cpu_features")
    return {str(each) for each in asked(tvm.target.Target(dict(target)))}


def compiled(functions: Mapping[str, Any], target: Mapping[str, Any] = HOST) -> Any:
    return tvm.tirx.build(tvm.IRModule(dict(functions)), target=tvm.target.Target(dict(target)))


def assembly(function: Any, target: Mapping[str, Any]) -> str:
    return str(compiled({"it": function}, target).inspect_source("asm"))


@dataclass(frozen=True)
class Given:
    """Weights w (N, K) int8 with scales (N, blocks), a bias; activations q (M, K) with scales (M) or (M, blocks).

    `offsets` (N) are whole numbers added to the sums.
    """

    w: Tensor
    scales: Tensor
    bias: Tensor | None
    q: Tensor
    q_scales: Tensor
    bits: int
    block: int | None = None
    relu: bool = False
    by_block: bool = False
    offsets: Tensor | None = None

    def packed(self, isa: Isa) -> Packed:
        layout = isa.layout(*self.w.shape, self.bits, self.block, lowest=lowest(self.w, self.bits))
        return pack_weights(self.w, self.scales, layout)


def lowest(w: Tensor, bits: int) -> int:
    """Ternary codes are −1 to 1, others what their bits hold."""
    return -1 if bits == 2 and int(w.min()) >= -1 else -(2 ** (bits - 1))


def random_given(
    rows: int, shape: tuple[int, int], bits: int, block: int | None = None, *, bias: bool = True, relu: bool = False
) -> Given:
    generator = torch.Generator().manual_seed(rows + sum(shape))
    low, high = {2: (-1, 2), 4: (-8, 8), 8: (-128, 128)}[bits]
    w = torch.randint(low, high, shape, generator=generator, dtype=torch.int8)
    blocks = 1 if block is None else -(-shape[1] // block)
    return Given(
        w,
        torch.rand((shape[0], blocks), generator=generator),
        torch.randn(shape[0], generator=generator) if bias else None,
        torch.randint(-128, 128, (rows, shape[1]), generator=generator, dtype=torch.int8),
        torch.rand(rows, generator=generator),
        bits, block, relu,
    )  # fmt: skip


def multiplied(
    isa: Isa, given: Given, *, symbolic: bool = False, multiple: int = 1, target: Mapping[str, Any] = HOST
) -> np.ndarray:
    """What a kernel makes of it."""
    spec = product_of(isa, given, symbolic=symbolic, multiple=multiple)
    run = compiled({"product": product(spec)}, target)["product"]
    *arrays, y = arguments(isa, given)
    made = tvm.runtime.tensor(y)
    run(*(tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays), made)
    return np.array(made.numpy())


def product_of(isa: Isa, given: Given, *, symbolic: bool = False, multiple: int = 1, parallel: bool = True) -> Product:
    """What is to be compiled for it."""
    return Product(
        isa, given.packed(isa).layout, None if symbolic else len(given.q), given.bias is not None,
        RELU if given.relu else PLAIN, given.by_block, given.offsets is not None, parallel, multiple,
    )  # fmt: skip


def arguments(isa: Isa, given: Given) -> list[np.ndarray]:
    """What a kernel is called with, the last one to be filled."""
    packed, rows = given.packed(isa), len(given.q)
    layout = packed.layout
    codes = np.zeros((rows, layout.stride), np.int8)
    codes[:, : layout.inputs] = given.q.numpy()
    sums = np.add.reduceat(
        codes[:, : layout.width].astype(np.int32), np.arange(layout.blocks) * (layout.width // layout.blocks), 1
    )
    arrays = [
        codes,
        given.q_scales.numpy().reshape(rows, -1),
        sums.astype(np.int32),
        packed.codes.numpy(),
        packed.scales.numpy(),
    ]
    arrays += [pack_outputs(each, layout).numpy() for each in (given.offsets, given.bias) if each is not None]
    return [*arrays, np.full((rows, layout.outputs), np.nan, np.float32)]


def reference(given: Given) -> np.ndarray:
    """The same in numpy: integers exact, floats in the same order, with fused multiply–adds made of doubles."""
    q, w = given.q.numpy().astype(np.int64), given.w.numpy().astype(np.int64)
    scales, q_scales = given.scales.numpy(), given.q_scales.numpy().reshape(len(q), -1)
    bias = np.zeros(len(w), np.float32) if given.bias is None else given.bias.numpy()
    if given.block is None:
        sums = q @ w.T + (0 if given.offsets is None else given.offsets.numpy())
        value, factor = sums.astype(np.float32), scales[:, 0][None] * q_scales
    else:
        value, factor = np.zeros((len(q), len(w)), np.float32) + (bias if given.by_block else 0), q_scales
        for index in range(scales.shape[1]):
            part = slice(index * given.block, (index + 1) * given.block)
            scale = scales[:, index][None] * (q_scales[:, index : index + 1] if given.by_block else np.float32(1))
            value = _fused((q[:, part] @ w[:, part].T).astype(np.float32), scale, value)
    result = value if given.by_block else _fused(value, factor, bias[None])
    return np.maximum(result, 0) if given.relu else result


def _fused(left: np.ndarray, right: np.ndarray, plus: np.ndarray) -> np.ndarray:
    return (left.astype(np.float64) * right + plus).astype(np.float32)


def rounded(
    isa: Isa, x: Tensor, block: int | None = None, scale: float | None = None, *, by_block: bool = False
) -> tuple[np.ndarray, ...]:
    """Codes (M, stride), scales (M, 1 or blocks) and sums (M, blocks) that the kernel makes of x (M, K)."""
    layout = isa.layout(1, x.shape[1], 2, block)
    run = compiled({"it": round_rows(spec := Rounding(isa, layout, None, scale is not None, by_block))})["round_rows"]
    made = [
        tvm.runtime.tensor(np.full(shape, 77, dtype))
        for shape, dtype in (
            ((len(x), layout.stride), np.int8), ((len(x), spec.scales), np.float32), ((len(x), layout.blocks), np.int32)
        )
    ]  # fmt: skip
    given = [] if scale is None else [tvm.runtime.tensor(np.full((1, 1), scale, np.float32))]
    run(tvm.runtime.tensor(x.numpy()), *given, *made)
    return tuple(np.array(each.numpy()) for each in made)
