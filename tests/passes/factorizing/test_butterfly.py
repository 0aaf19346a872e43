"""Flat block butterfly beside low rank: the pattern, the best blocks for it, and what the graph computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.errors import InputError, RecipeError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.butterfly import BLOCK, butterfly, pattern

CONTEXT = Context(board())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(96, 256), nn.Linear(256, 96)
        self.odd, self.conv = nn.Linear(96, 40), nn.Conv1d(96, 64, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.down(torch.relu(self.up(x)))
        return self.odd(y), self.conv(y.transpose(1, 2))


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (torch.randn(2, 5, 96),)).program


def test_the_pattern_is_the_butterflys() -> None:
    assert pattern(256, 256, 4)[5].tolist() == [5, 4, 7, 1]
    assert all(len(set(row)) == 3 for row in pattern(384, 384, 3).tolist()), "12 blocks are no power of two"
    assert pattern(64, 256, 2).tolist() == [[0, 1], [4, 5]], "stretched"
    assert pattern(256, 64, 1).flatten().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert sorted(pattern(64, 128, 4)[1].tolist()) == [0, 1, 2, 3], "all there are"


@pytest.mark.parametrize(("outputs", "inputs", "count"), [(40, 64, 1), (64, 40, 1), (64, 64, 3), (64, 64, 0)])
def test_what_is_no_pattern_is_refused(outputs: int, inputs: int, count: int) -> None:
    with pytest.raises(InputError, match="no pattern"):
        pattern(outputs, inputs, count)


def test_what_is_of_that_form_is_found() -> None:
    torch.manual_seed(0)
    mask = butterfly(torch.ones(128, 128), 1, 2).columns
    dense = torch.zeros(128, 128)
    for row, columns in enumerate(mask.tolist()):
        for column in columns:
            dense[row * BLOCK :][:BLOCK, column * BLOCK :][:, :BLOCK] = torch.randn(BLOCK, BLOCK)
    exact = butterfly(dense, 4, 2)
    torch.testing.assert_close(exact.product.float(), dense, atol=1e-3, rtol=1e-3)
    assert exact.blocks.shape == (4, 64, BLOCK)
    assert torch.count_nonzero(exact.sparse) == 4 * 2 * BLOCK * BLOCK


def test_weighed_by_inputs_the_outputs_are_nearer() -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(96, 128), torch.randn(500, 128) @ torch.randn(128, 128)
    plain, weighed = (butterfly(weight, 8, 1, gram).product.float() for gram in (None, inputs.T @ inputs))
    errors = [float((inputs @ (weight - found).T).norm()) for found in (plain, weighed)]
    assert errors[1] < 0.95 * errors[0]


def test_the_graph_computes_the_product_and_exports(net: Program, tmp_path: Path) -> None:
    done = Factorize(amount=0.5, form="butterfly", slower=True).run(net, CONTEXT)
    assert set(done.settings) == {"up", "down"}
    assert all(setting["blocks"] for setting in done.settings.values())
    reasons = {skip.site: skip.reason for skip in done.skipped}
    assert "no whole blocks of 32" in reasons["odd"]
    assert "linear layers alone" in reasons["conv"]
    setting = done.settings["up"]
    dense = butterfly(net.get("up.weight"), int(setting["rank"]), int(setting["blocks"])).product.float()
    ours = torch.relu(net.example[0] @ dense.T + net.get("up.bias"))
    dense = butterfly(net.get("down.weight"), *(int(done.settings["down"][n]) for n in ("rank", "blocks"))).product
    ours = ours @ dense.float().T + net.get("down.bias")
    wanted = ours @ net.get("odd.weight").T + net.get("odd.bias")
    found = list(done.program.run(net.example).values())
    torch.testing.assert_close(found[0], wanted, atol=1e-4, rtol=1e-4)
    assert done.program.parameters() < 0.75 * net.parameters()
    again = Factorize(sites=done.settings).run(net, CONTEXT)
    assert again.program.hash() == done.program.hash()
    to_onnx(done.program, CONTEXT.target).save(tmp_path / "model.onnx")
    results = runner(tmp_path / "model.onnx", threads=1)({net.inputs[0].name: net.example[0]})
    torch.testing.assert_close(next(iter(results.values())), found[0].detach(), atol=1e-4, rtol=1e-4)


def test_a_setting_that_cannot_be_is_refused(net: Program) -> None:
    for site, setting in (("odd", {"rank": 4, "blocks": 1}), ("up", {"rank": 4, "blocks": 9})):
        with pytest.raises(RecipeError, match=r"blocks? a row"):
            Factorize(sites={site: setting}).run(net, CONTEXT)
