"""A sum before a layer norm stays an operator of its own in the runtime, and the numbers stay what they are."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.targets.loader import load_target


class Block(nn.Module):
    """A residual in front of a norm, read again behind it, and one that no norm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Linear(16, 16), nn.Linear(16, 16), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.tanh(self.one(x))
        return x + torch.tanh(self.two(self.norm(x)))


def test_no_sum_is_fused_into_a_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = capture(Block().eval(), (torch.randn(2, 5, 16),)).program
    lowered = to_onnx(program, load_target("x86-64"))
    lowered.save(path := tmp_path / "model.onnx")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Sum") == 1
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    runs = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "LayerNormalization" in runs
    assert "SkipLayerNormalization" not in runs
    batch = {program.inputs[0].name: torch.randn(3, 7, 16)}
    [wanted], [found] = program.run(batch).values(), runner(path)(batch).values()
    assert torch.allclose(wanted, found, atol=1e-5)
