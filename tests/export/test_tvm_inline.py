"""Loops over elements become one where one reads the other; what many read, and sums, stay apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn

from compressor.export.tvm import to_tvm
from compressor.export.tvm_inline import inlined
from compressor.export.tvm_session import TVMSession
from compressor.graph.capture import capture
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


class Chain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.relu(x.permute(0, 2, 1)) * 2).permute(0, 2, 1) + 1


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x)
        return y * torch.sigmoid(y)


def program(module: nn.Module) -> Program:
    torch.manual_seed(0)
    return capture(module.eval(), (torch.randn(4, 6, 8),)).program


def blocks(network: Program) -> tuple[int, int]:
    """Loops before and after."""
    with quiet():
        import tvm
        from tvm.relax.backend.cpu_generic import pipeline
        from tvm.relax.frontend.torch import from_exported_program

        target = tvm.target.Target("llvm")
        with target:
            module = from_exported_program(as_exported(network))
            module = tvm.transform.Sequential(pipeline.legalize_passes(target))(module)
            before = _count(module)
            return before, _count(inlined()(module))


def _count(module: object) -> int:
    text = str(module.script())  # type: ignore[attr-defined]
    return text.count('T.sblock("') - text.count('T.sblock("root")')


def test_a_chain_of_loops_is_one() -> None:
    assert blocks(program(Chain())) == (5, 1)


def test_what_two_read_stays_apart() -> None:
    before, after = blocks(program(Several()))
    assert (before, after) == (3, 2)


def test_a_rows_statistics_are_computed_once() -> None:
    before, after = blocks(program(nn.Softmax(-1)))
    assert before == after == 4


@pytest.mark.parametrize(
    "module", [Chain(), Several(), nn.Softmax(-1), nn.LayerNorm(8)], ids=lambda m: type(m).__name__
)
def test_they_compute_the_same(module: nn.Module, tmp_path: Path) -> None:
    network = program(module)
    to_tvm(network, tvm_target(), tmp_path / "model.so")
    [found] = TVMSession(tmp_path / "model.so").run(network.example)
    torch.testing.assert_close(found, *network.run().values(), rtol=1e-5, atol=1e-5)
