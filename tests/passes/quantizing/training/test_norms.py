"""BitNet's norm stands before linear layers that have none, and the network starts near where it was."""

from __future__ import annotations

from pathlib import Path

import torch
from boards import board
from recovery import vit
from torch import Tensor, nn

from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.training.norms import with_norms

LAYER_NORM = torch.ops.aten.layer_norm.default


class Shared(nn.Module):
    """Two layers read one value, a third one a normed one."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(16, 4)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(torch.tanh(self.q(x)) * self.k(x)))


def shared() -> tuple[Program, dict[str, Tensor]]:
    torch.manual_seed(0)
    x = 5 * torch.randn(64, 32)
    return capture(Shared().eval(), (x[:4],)).program, {"x": x}


def norms(program: Program) -> int:
    return sum(node.target is LAYER_NORM for node in program.nodes())


def test_one_norm_a_value_and_none_behind_a_norm() -> None:
    program, batch = shared()
    before = program.hash()
    normed, names = with_norms(program, ["q", "k", "out"], [batch])
    assert names == ["q", "k"]
    assert norms(normed) == norms(program) + 1
    assert program.hash() == before


def test_weights_take_over_the_size_of_their_input() -> None:
    program, batch = shared()
    normed, _ = with_norms(program, ["q", "k"], [batch])
    size = float(batch["x"].square().mean().sqrt())
    torch.testing.assert_close(normed.get("q.weight"), program.get("q.weight") * size)
    [expected], [found] = program.run(batch).values(), normed.run(batch).values()
    assert float((found - expected).norm() / expected.norm()) < 0.3  # rows of white noise are all of nearly one size
    unsized, _ = with_norms(program, ["q", "k"], [])
    assert torch.equal(unsized.get("q.weight"), program.get("q.weight"))


def test_it_runs_in_onnx_runtime(tmp_path: Path) -> None:
    program = vit(1)
    names = [name.removesuffix(".weight") for name in program.tensors() if name.endswith("out.weight")]
    normed, changed = with_norms(program, names, [])
    assert changed == names
    to_onnx(normed, board()).save(tmp_path / "model.onnx")
    assert check(normed, tmp_path / "model.onnx").error < 1e-5


class Decoder(nn.Module):
    """A table whose weight is the output layer's too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(40, 32), nn.Linear(32, 32), nn.Linear(32, 40, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(self.table(ids))))


def test_neither_tables_nor_what_is_tied_to_them_get_one() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 40, (4, 8))
    program = capture(Decoder().eval(), (ids,)).program
    normed, names = with_norms(program, ["table", "inner", "head"], [{program.inputs[0].name: ids}])
    assert names == ["inner"]
    [table] = [layer.weight for layer in find_layers(program)[0] if layer.name == "table"]
    assert torch.equal(normed.get(table), program.get(table))
    assert normed.run({program.inputs[0].name: ids}).keys() == program.run({program.inputs[0].name: ids}).keys()
