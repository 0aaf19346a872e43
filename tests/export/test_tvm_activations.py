"""GELU without a library's erf: as torch has it, for small and large numbers and for what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn

from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import TVMSession
from compressor.graph.capture import capture


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


class Both(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return nn.functional.gelu(x), nn.functional.gelu(x, approximate="tanh")


def test_both_forms_are_torchs(tmp_path: Path) -> None:
    x = torch.cat([torch.linspace(-8, 8, 4001), torch.tensor([0.0, 1e-20, -1e-3, 1e6, -1e6, torch.inf, torch.nan])])
    program = capture(Both(), (x[None],)).program
    to_tvm(program, tvm_target(), tmp_path / "model.so")
    exact, tanh = TVMSession(tmp_path / "model.so").run([x[None]])
    wanted = Both()(x[None].double())
    torch.testing.assert_close(exact.double(), wanted[0], rtol=1e-6, atol=2e-6, equal_nan=True)
    torch.testing.assert_close(tanh.double(), wanted[1], rtol=1e-6, atol=2e-6, equal_nan=True)
    small = x[x.abs() < 0.5][None]
    assert ((exact[:, x.abs() < 0.5] - nn.functional.gelu(small)).abs() <= 1e-6 * small.abs()).all()


class Bounded(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        f = nn.functional
        clamped = x.clamp(max=0.5), x.clamp(-1, 2), (x.nan_to_num(0, 9, -9) * 2).int().clamp(0, 3)
        return f.relu(x), f.relu6(x), f.hardtanh(x, -0.3, 0.2), f.elu(x, 0.7), f.selu(x), f.celu(x, 0.5), *clamped


def test_bounds_and_elu_are_torchs_and_keep_what_is_no_number(tmp_path: Path) -> None:
    x = torch.cat([torch.linspace(-8, 8, 401), torch.tensor([0.0, torch.inf, -torch.inf, torch.nan])])[None]
    program = capture(Bounded(), (x,)).program
    to_tvm(program, tvm_target(), tmp_path / "model.so")
    for found, wanted in zip(TVMSession(tmp_path / "model.so").run([x]), Bounded()(x), strict=True):
        torch.testing.assert_close(found, wanted, equal_nan=True)
