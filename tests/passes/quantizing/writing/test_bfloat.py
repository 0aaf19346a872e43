"""bf16: half the bytes in the file, float32 arithmetic, tied weights tied; refused where it is not known to be read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.targets import load_target

CONTEXT = Context(board())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(300, 32), nn.Conv1d(32, 64, 3)
        self.wide, self.head = nn.Linear(64, 32), nn.Linear(32, 300, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.wide(torch.relu(self.conv(self.embed(ids).mT)).mT)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net(), (torch.randint(0, 300, (2, 9)),)).program


def test_weights_take_half_the_bytes_and_lose_a_fifth_of_a_percent(program: Program, tmp_path: Path) -> None:
    result = Quantize("bf16").run(program, CONTEXT)
    assert set(result.settings) == {"embed", "conv", "wide", "head"}
    assert result.program.unique_bytes() < 0.52 * program.unique_bytes()
    [before], [after] = program.run().values(), result.program.run().values()
    assert 0.0 < float((after - before).norm() / before.norm()) < 0.005
    assert after.dtype == torch.float32
    sizes = []
    for one in (program, result.program):
        to_onnx(one, board()).save(tmp_path / "model.onnx")
        sizes.append((tmp_path / "model.onnx").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    kinds = {t.data_type for t in onnx.load(tmp_path / "model.onnx").graph.initializer if len(t.dims) > 1}
    assert kinds == {onnx.TensorProto.BFLOAT16}
    assert check(result.program, tmp_path / "model.onnx").error < 1e-5


def test_a_tied_weight_stays_one_tensor(program: Program) -> None:
    after = Quantize(sites={"embed": {"format": "bf16"}}).run(program, CONTEXT).program
    tensors = after.tensors()
    assert len({t.data_ptr() for name, t in tensors.items() if t.shape == (300, 32)}) == 1
    assert {t.dtype for t in tensors.values() if t.shape == (300, 32)} == {torch.bfloat16}


def test_options_count_bytes_and_damage(program: Program) -> None:
    options = {o.site: o for o in Quantize("bf16").options(program, CONTEXT) if o.setting["format"] == "bf16"}
    assert options["wide"].bytes == 2 * 64 * 32
    assert 0.001 < (options["wide"].damage or 0.0) < 0.003


def test_weights_that_are_not_finite_and_boards_that_do_not_read_it(program: Program) -> None:
    broken = program.copy()
    broken.module.wide.weight = nn.Parameter(torch.full((32, 64), float("inf")))  # type: ignore[union-attr]
    reasons = {skip.site: skip.reason for skip in Quantize("bf16").run(broken, CONTEXT).skipped}
    assert "NaN or infinite" in reasons["wide"]
    refused = Quantize("bf16").run(program, Context(load_target("jetson")))
    assert refused.changed == ()
    assert "The next format that it runs is fp16" in refused.skipped[0].reason
