"""What every pass must leave behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.errors import PassError
from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.verify import relative_error, verify


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return capture(net, (torch.randn(2, 4),)).program


@pytest.fixture(scope="module")
def batch(program: Program) -> Batch:
    return {"input": program.example[0]}


def _with_weight(program: Program, value: torch.Tensor) -> Program:
    changed = program.copy()
    edit.set_tensor(changed, "0.weight", value)
    return edit.finish(changed)


def test_an_equal_program_passes(program: Program, batch: Batch) -> None:
    verify("same", program, program.copy(), batch, exact=True)


def test_a_moved_output_breaks_a_claim_of_equivalence_only(program: Program, batch: Batch) -> None:
    moved = _with_weight(program, program.get("0.weight") * 1.01)
    verify("lossy", program, moved, batch, exact=False)
    with pytest.raises(PassError, match=r"pass lossy \(after fold\).*claims equivalence"):
        verify("lossy", program, moved, batch, exact=True, earlier=["fold"])


def test_nan_is_refused(program: Program, batch: Batch) -> None:
    broken = _with_weight(program, torch.full((8, 4), float("nan")))
    with pytest.raises(PassError, match="infinite or NaN"):
        verify("p", program, broken, batch, exact=False)


def test_a_program_that_does_not_run_is_refused(program: Program, batch: Batch) -> None:
    broken = program.copy()
    edit.set_tensor(broken, "0.weight", torch.zeros(5, 4))
    with pytest.raises(PassError, match="does not run or export"):
        verify("p", program, broken, batch, exact=False)


def test_a_changed_signature_is_refused(program: Program, batch: Batch) -> None:
    renamed = replace(program, outputs=(replace(program.outputs[0], name="other"),))
    with pytest.raises(PassError, match="inputs or outputs"):
        verify("p", program, renamed, batch, exact=False)


def test_a_fixed_batch_is_refused(program: Program, batch: Batch) -> None:
    fixed = program.copy()
    output = next(iter(reversed(fixed.graph.nodes)))
    [result] = output.args[0]
    view = edit.insert(fixed, torch.ops.aten.reshape.default, (result, [2, 3]), like=result, before=output)
    output.args = ((view,),)
    with pytest.raises(PassError, match="fixed the dynamic dimension 'batch'"):
        verify("p", program, edit.finish(fixed), batch, exact=True)


def test_relative_error() -> None:
    one = torch.tensor([3.0, 4.0])
    assert relative_error(one, one) == 0.0
    assert relative_error(one * 1.1, one) == pytest.approx(0.1)
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0.0
    assert relative_error(one, torch.tensor([3.0, float("inf")])) == 0.0
