"""Which weights are packed for the kernels: exactly those of products in integers, once, and with them their tables."""

from __future__ import annotations

import pytest
import torch
from own_operators import in_blocks, tied
from quantized import with_blocks
from torch import nn

from compressor.export.custom_op.packed import in_packed
from compressor.graph.capture import capture
from compressor.graph.edit import is_call
from compressor.graph.program import Program

pytest.importorskip("tvm", reason="needs apache-tvm (the tvm extra)")

from compressor.export.kernels.isa import AVX2, NEON_DOT, NEON_I8MM, Isa

ops = torch.ops.compressor


def count(program: Program, target: object) -> int:
    return sum(is_call(node, target) for node in program.nodes())  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", [AVX2, NEON_DOT, NEON_I8MM], ids=lambda isa: isa.name)
@pytest.mark.parametrize(("format", "block"), [("ternary", 128), ("int2", 64), ("int4", 32)])
def test_a_packed_program_computes_the_same(isa: Isa, format: str, block: int) -> None:
    program = in_blocks(37, 130, format, block)
    packed = in_packed(program, isa)
    assert count(packed, ops.linear_packed.default) == 1
    assert count(packed, ops.linear_blocks.default) == 0
    torch.testing.assert_close(*packed.run().values(), *program.run().values(), rtol=1e-6, atol=1e-6)
    assert [spec.shape for spec in packed.outputs] == [spec.shape for spec in program.outputs]


def test_weights_are_stored_once_and_the_old_ones_are_gone() -> None:
    packed = in_packed(tied(), AVX2)
    assert count(packed, ops.linear_packed.default) == count(packed, ops.embedding_packed.default) == 1
    assert sorted(packed.tensors()) == ["words.weight_codes", "words.weight_scales"]
    torch.testing.assert_close(*packed.run().values(), *tied().run().values(), rtol=1e-6, atol=1e-6)


def test_ternary_codes_are_smaller_than_those_of_two_bits() -> None:
    [ternary], [two] = (
        [node.args[-1] for node in in_packed(in_blocks(8, 32, format), AVX2).nodes() if node.args[-1:]]
        for format in ("ternary", "int2")
    )
    assert (ternary[3], two[3]) == (1, 2)  # what is added to weights to make codes


def test_what_is_not_ours_stays() -> None:
    floats = in_blocks(8, 32, integer=False)
    assert in_packed(floats, AVX2) is floats
    program = capture(nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 16)).eval(), (torch.randn(2, 64),)).program
    assert in_packed(program, AVX2) is program
    both = with_blocks(with_blocks(program, "linear"), "linear_1", integer=False)
    packed = in_packed(both, AVX2)
    assert count(packed, ops.linear_packed.default) == count(packed, ops.linear_blocks.default) == 1


def test_codes_that_something_else_reads_stay() -> None:
    shared = tied().copy()
    product = next(node for node in shared.nodes() if is_call(node, ops.linear_blocks.default))
    product.update_arg(7, False)
    assert in_packed(shared, AVX2) is shared
