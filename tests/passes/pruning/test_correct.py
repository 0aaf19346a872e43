"""The second-order correction: least squares in closed form, and only in the layers that read what goes."""

from __future__ import annotations

import torch
from recovery import digits_batches, digits_program

from compressor.graph.dimensions.groups import analyse
from compressor.passes.pruning import correct
from compressor.passes.pruning.correct import Correction, corrected
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.masked import Masked
from compressor.passes.recover.device import Place


def test_it_is_the_least_squares_solution() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    weight, gone = torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 1, 0, 0, 1, 0], dtype=torch.bool)
    found = corrected(weight, inputs, gone)
    wanted = torch.linalg.lstsq(inputs[:, ~gone], inputs @ weight.T).solution.T
    assert torch.equal(found[:, gone], torch.zeros(4, 2, dtype=torch.float64))
    assert float((found[:, ~gone] - wanted).norm() / wanted.norm()) < 0.1  # the ridge holds it back
    left = (inputs @ found.T - inputs @ weight.T).norm()
    naive = (inputs[:, gone] @ weight[:, gone].T).norm()
    assert left < 0.7 * naive
    assert float(left / (inputs[:, ~gone] @ wanted.T - inputs @ weight.T).norm()) < 1.05


def test_what_is_not_needed_costs_nothing() -> None:
    inputs = torch.randn(100, 3)
    inputs = torch.cat([inputs, inputs[:, :1]], 1)
    gone = torch.tensor([False, False, False, True])
    weight = torch.randn(2, 4)
    found = corrected(weight, inputs, gone)
    assert torch.allclose(inputs @ found.T, inputs @ weight.T, atol=0.1)


def test_only_readers_of_what_goes_are_corrected() -> None:
    program = prepared(digits_program())
    dimensions = analyse(program)
    units = [unit for d in dimensions.dimensions for unit in d.units]
    inner = next(d for d in dimensions.dimensions if d.name == "first.inner.0")
    masked = Masked(dimensions, units, Place(torch.device("cpu")), batch_norm=False)
    before = masked.trainee.state()
    going = torch.tensor([unit in inner.units[:8] for unit in units])
    inputs = masked.trainee.flat(digits_batches()[0])
    Correction(program, masked.rows).apply(masked.trainee.plain, inputs, going)
    after = masked.trainee.state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["first.outer.0.weight"]
    assert bool((after["first.outer.0.weight"][:, :8] == 0).all())


def test_the_ridge_is_small() -> None:
    assert correct.RIDGE < 0.1
