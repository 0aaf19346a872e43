"""Loops of sums in vectors: what has lanes gets them and computes the same, what has none stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn

from compressor.export.tvm import to_tvm
from compressor.export.tvm_loops import Vectors, in_vectors
from compressor.export.tvm_session import TVMSession
from compressor.graph.capture import capture
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


NETWORKS = {
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 14, 14)),
    "strided": (nn.Conv2d(4, 6, 3, stride=2), (2, 4, 17, 17)),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 12, 12)),
    "dilated": (nn.Conv1d(4, 4, 3, dilation=2), (2, 4, 20)),
    "linear": (nn.Linear(24, 48), (3, 24)),
    "linear of rows": (nn.Linear(24, 10), (2, 7, 24)),
}


def program(name: str) -> Program:
    torch.manual_seed(0)
    module, shape = NETWORKS[name]
    return capture(module.eval(), (torch.randn(*shape),)).program


def loops(network: Program, vectors: Vectors) -> tuple[str, str]:
    """The functions before and after, as text: the pass works in place."""
    with quiet():
        import tvm
        from tvm.relax.backend.cpu_generic import pipeline
        from tvm.relax.frontend.torch import from_exported_program

        target = tvm.target.Target("llvm")
        with target:
            module = from_exported_program(as_exported(network))
            module = tvm.transform.Sequential(pipeline.legalize_passes(target))(module)
            return str(module.script()), str(in_vectors(vectors)(module).script())


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_are_the_same_in_another_order(name: str, tmp_path: Path) -> None:
    network = program(name)
    before, after = loops(network, Vectors(16, 4))
    assert "T.vectorized" not in before
    assert "T.vectorized" in after
    to_tvm(network, tvm_target(), tmp_path / "model.so")
    [found] = TVMSession(tmp_path / "model.so").run(network.example)
    [wanted] = network.run().values()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_lanes_and_copies_are_as_many_as_divide_the_axes_and_fit() -> None:
    _, after = loops(program("linear of rows"), Vectors(16, 4))
    assert "T.vectorized(T.int64(10))" in after
    _, after = loops(program("convolution"), Vectors(8, 4))
    assert "T.vectorized(T.int64(7))" in after
    assert "T.unroll(T.int64(4))" in after


@pytest.mark.parametrize("network", [nn.Softmax(-1), nn.LayerNorm(16), nn.Linear(16, 97), nn.Linear(16, 2)])
def test_what_has_no_lanes_stays_as_it_is(network: nn.Module) -> None:
    before, after = loops(capture(network.eval(), (torch.randn(5, 16),)).program, Vectors(16, 4))
    assert before == after
