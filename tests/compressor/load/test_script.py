"""TorchScript converts to a program that agrees with it, under its own names; what cannot convert is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import scripted
from torch import Tensor, nn

from compressor.errors import CaptureError, InputError, LoadError
from compressor.load.script import convert_script

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.(script|trace|save|freeze).*:DeprecationWarning")


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.up = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.register_buffer("scale", torch.ones(4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.up(torch.relu(self.norm(self.conv(image)))) * self.scale


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, factor: float = 2.0) -> dict[str, Tensor]:
        return {"logits": self.head(self.embed(input_ids)) * factor}


class Loop(nn.Module):
    def forward(self, x: Tensor, steps: int = 3) -> Tensor:
        for _ in range(steps):
            x = torch.tanh(x)
        return x


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 3:
            return x * 2
        return x + 1


def script(model: nn.Module, path: Path) -> Path:
    torch.jit.save(scripted(model.eval()), path)
    return path


def trace(model: nn.Module, path: Path, *inputs: Tensor) -> Path:
    torch.jit.save(torch.jit.trace(model.eval(), inputs), path)
    return path


MAKERS: list[Callable[[nn.Module, Path], Path]] = [script, lambda m, p: trace(m, p, torch.randn(2, 3, 8, 8))]


@pytest.mark.parametrize("make", MAKERS, ids=["script", "trace"])
def test_vision_model(make: Callable[[nn.Module, Path], Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Vision()
    captured = convert_script(make(model, tmp_path / "m.pt"), (torch.randn(1, 3, 8, 8),), {})
    program = captured.program
    assert [(spec.name, spec.shape) for spec in program.inputs] == [("image", ("batch", 3, 8, 8))]
    parameters = {name for name, _ in program.module.named_parameters()}
    assert parameters == {name for name, _ in model.named_parameters()}
    targets = {str(node.target) for node in program.nodes()}
    assert "aten.convolution.default" not in targets
    assert {"aten.conv2d.default", "aten.conv_transpose2d.input"} <= targets
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(next(iter(program.run([x]).values())), model(x))


def test_defaults_keywords_and_output_names(tmp_path: Path) -> None:
    model, ids = Text(), torch.randint(20, (2, 5))
    program = convert_script(script(model, tmp_path / "m.pt"), (), {"input_ids": ids}).program
    assert [spec.name for spec in program.inputs] == ["input_ids"]
    torch.testing.assert_close(program.run([ids]), model(ids))


def test_branch_on_a_shape_fixes_the_batch(tmp_path: Path) -> None:
    captured = convert_script(script(Branch(), tmp_path / "m.pt"), (torch.zeros(2, 4),), {})
    assert captured.program.inputs[0].shape == (2, 4)
    assert "branches on a shape" in captured.notes[0]


def test_loop_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="prim::Loop") as caught:
        convert_script(script(Loop(), tmp_path / "m.pt"), (torch.zeros(2, 4),), {})
    assert "torch.export" in caught.value.way_out


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "--input image="),
        ((torch.zeros(1),), {"other": torch.zeros(1)}, "no input 'other'"),
        ((torch.zeros(1), torch.zeros(1)), {}, "takes 1 inputs, got 2"),
        ((torch.zeros(2, 5, 8, 8),), {}, "rejects inputs"),
    ],
)
def test_inputs_that_do_not_fit(args: Any, kwargs: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert_script(script(Vision(), tmp_path / "m.pt"), args, kwargs)
    assert message in str(caught.value)


def test_damaged_file(tmp_path: Path) -> None:
    path = script(Vision(), tmp_path / "m.pt")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LoadError, match="damaged"):
        convert_script(path, (torch.zeros(1),), {})


def test_frozen_module_keeps_its_weights_as_parameters(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(scripted(Vision().eval())), tmp_path / "m.pt")
    program = convert_script(tmp_path / "m.pt", (torch.randn(2, 3, 8, 8),), {}).program
    assert any(parameter.dim() == 4 for parameter in program.module.parameters())
