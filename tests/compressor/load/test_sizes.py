"""Size arithmetic on tensors becomes arithmetic on integers, with the same result for every size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor.load.script import convert_script

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|save).*:DeprecationWarning")


class Heads(nn.Module):
    """Splits heads by sizes it computes: what a trace records as tensors."""

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = x.view(batch, length, 2, width // 2).transpose(1, 2)
        return split.reshape(batch * 2, length, width // 2)


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    torch.jit.save(torch.jit.trace(Heads(), torch.randn(2, 5, 8)), tmp_path / "m.pt")
    return tmp_path / "m.pt"


def test_no_size_goes_through_a_tensor(traced: Path) -> None:
    program = convert_script(traced, (torch.randn(2, 5, 8),), {}).program
    targets = {str(node.target) for node in program.nodes()}
    assert not [target for target in targets if "scalar" in target]
    assert program.inputs[0].shape == ("batch", "sequence", 8)


def test_other_sizes_agree(traced: Path) -> None:
    program = convert_script(traced, (torch.randn(2, 5, 8),), {}).program
    x = torch.randn(3, 7, 8)
    torch.testing.assert_close(next(iter(program.run([x]).values())), Heads()(x))


class Value(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("three", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.three + x.sum() * (self.three * 2)


def test_tensors_that_are_no_sizes_stay(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(Value(), torch.randn(2, 4)), tmp_path / "m.pt")
    program = convert_script(tmp_path / "m.pt", (torch.randn(2, 4),), {}).program
    x = torch.randn(2, 4)
    torch.testing.assert_close(next(iter(program.run([x]).values())), Value()(x))
