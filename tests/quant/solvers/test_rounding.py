"""Solvers over every format: gptq lowers the output error, the codes are the ones that are stored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.blocks import BLOCK_FORMATS, INT4, TERNARY, blocks_of, dequantize_blocks
from compressor.quant.formats import INT7, INT8, Format
from compressor.quant.grids import SHARES, Share
from compressor.quant.solvers.refit import output_error
from compressor.quant.solvers.rounding import SOLVERS, round_matrix
from compressor.quant.ternary import RULES, Rule


def problem(groups: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(groups, 400, 24, generator=random) @ torch.randn(groups, 24, 96, generator=random)
    inputs += 0.3 * torch.randn(inputs.shape, generator=random)
    return torch.randn(groups, 8, 96, generator=random), (inputs.mT @ inputs).double()


def error(matrix: Tensor, values: Tensor, gram: Tensor) -> float:
    parts = zip(matrix, values.view_as(matrix), gram, strict=True)
    return sum(output_error(one, other, products) for one, other, products in parts) ** 0.5


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("fmt", [INT8, INT7, *BLOCK_FORMATS.values()], ids=lambda f: f.name)
def test_gptq_beats_what_knows_weights_alone(fmt: Format, groups: int) -> None:
    matrix, gram = problem(groups)
    block = None if fmt.bits > 4 else 32
    found = {s: error(matrix, round_matrix(matrix, fmt, s, gram, block=block).values, gram) for s in SOLVERS}
    assert found["gptq"] < 0.7 * min(found["nearest"], found["mse"], found["hqq"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", SHARES)
def test_every_ternary_scale_and_rule_with_gptq(share: Share, rule: Rule) -> None:
    matrix, gram = problem()
    plain, solved = (
        round_matrix(matrix, TERNARY, solver, gram, block=32, share=share, rule=rule) for solver in ("nearest", "gptq")
    )
    assert error(matrix, solved.values, gram) < 0.8 * error(matrix, plain.values, gram)
    distinct = {"block": 24, "row": 8, "tensor": 1}[share]
    assert len(solved.grid.scale.unique()) == distinct


def test_what_is_stored_is_what_was_found() -> None:
    matrix, gram = problem()
    found = round_matrix(matrix, INT4, "gptq", gram, block=32)
    [blocks] = blocks_of(found.codes, found.grid)
    assert torch.equal(dequantize_blocks(blocks), found.values)
    assert found.codes.dtype == torch.int8


def test_gptq_without_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="no inputs"):
        round_matrix(problem()[0], INT4, "gptq", block=32)
