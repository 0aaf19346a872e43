"""Index tensors of units: the sums and products that the slow way gives, for rows of several units, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import analysed
from recovery import digits_program
from tiny import TinyGpt
from torch import nn

from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.rows import UnitRows
from compressor.passes.pruning.units import sum_by_unit


@pytest.fixture(scope="module", params=["digits", "gpt"])
def dimensions(request: pytest.FixtureRequest) -> Dimensions:
    if request.param == "digits":
        return analyse(prepared(digits_program()))
    return analysed(TinyGpt(), (torch.zeros(2, 8, dtype=torch.int64),))


def test_sums_are_those_of_the_slices(dimensions: Dimensions) -> None:
    units = list(dimensions.slices)
    rows = UnitRows(dimensions, units)
    torch.manual_seed(0)
    tensors = dimensions.program.tensors().items()
    values = {name: torch.randn_like(value) for name, value in tensors if isinstance(value, nn.Parameter)}
    wanted = sum_by_unit(dimensions, values)
    assert torch.allclose(rows.sums(values), torch.tensor([wanted[unit] for unit in units]), atol=1e-3)


def test_a_row_of_a_head_and_of_an_inner_unit_is_scaled_by_both() -> None:
    dimensions = analysed(TinyGpt(), (torch.zeros(2, 8, dtype=torch.int64),))
    heads = next(d for d in dimensions.dimensions if d.name == "blocks.0.q/16")
    inner = next(d for d in dimensions.dimensions if d.name == "blocks.0.q/2")
    rows = UnitRows(dimensions, [*heads.units, *inner.units])
    z = torch.arange(2.0, 2 + 2 + 16)
    factor = rows.factor("blocks.0.q.weight", z)
    assert factor.shape == (32, 1)
    assert torch.equal(factor.reshape(2, 16), z[:2, None] * z[2:])
    assert torch.equal(rows.added("blocks.0.q.weight", z).reshape(2, 16), z[:2, None] + z[2:])


def test_only_the_axes_asked_for_count(dimensions: Dimensions) -> None:
    first = dimensions.dimensions[0]
    tensor, axis, _ = first.spans[0]
    rows = UnitRows(dimensions, first.units, only=[(tensor, axis)])
    assert {name: list(axes) for name, axes in rows.axes.items()} == {tensor: [axis]}


def test_rows_of_no_unit_keep_their_weight(dimensions: Dimensions) -> None:
    first = dimensions.dimensions[0]
    rows = UnitRows(dimensions, first.units[:1])
    tensor, axis, _ = first.spans[0]
    factor = rows.factor(tensor, torch.zeros(1))
    gone = np.flatnonzero((factor == 0).reshape(-1).numpy())
    own = next(s.rows for s in dimensions.slices[first.units[0]] if (s.tensor, s.axis) == (tensor, axis))
    assert gone.tolist() == own.tolist()


def test_gradients_reach_the_units(dimensions: Dimensions) -> None:
    units = dimensions.dimensions[0].units
    z = torch.ones(len(units), requires_grad=True)
    rows = UnitRows(dimensions, units)
    torch.autograd.backward(torch.stack([rows.factor(name, z).sum() for name in rows.axes]).sum())
    assert z.grad is not None
    assert bool((z.grad > 0).all())
