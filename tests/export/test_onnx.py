from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.errors import ExportError, UnsupportedError
from compressor.export.check import check
from compressor.export.onnx import Lowered, to_onnx
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.targets.target import Runtime


def saved(lowered: Lowered, folder: Path) -> Path:
    path = folder / "model.onnx"
    lowered.save(path)
    return path


def test_agrees_with_the_program_at_any_batch(conv_program: Program, conv_lowered: Lowered, tmp_path: Path) -> None:
    agreement = check(conv_program, saved(conv_lowered, tmp_path))
    assert agreement.error < 1e-5
    assert agreement.sizes == ({"batch": 3},)


def test_names_types_and_dimensions_are_the_specs(text_lowered: Lowered, tmp_path: Path) -> None:
    model = onnx.load(saved(text_lowered, tmp_path))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in model.graph.output] == ["logits", "best", "hidden.last", "hidden.same.0"]
    shape = model.graph.output[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", "sequence", 50]
    assert model.graph.output[1].type.tensor_type.elem_type == onnx.TensorProto.INT64


def test_dynamic_batch_and_sequence_agree(text_program: Program, text_lowered: Lowered, tmp_path: Path) -> None:
    agreement = check(text_program, saved(text_lowered, tmp_path))
    assert agreement.sizes == ({"batch": 3, "sequence": 6}, {"batch": 2, "sequence": 5})


def test_a_tied_weight_is_stored_once(text_program: Program, text_lowered: Lowered) -> None:
    shapes = [tuple(v.const_value.shape) for v in text_lowered.model.graph.initializers.values() if v.const_value]
    assert shapes.count((50, 16)) == 1
    assert (16, 50) not in shapes
    assert text_lowered.weight_bytes < text_program.unique_bytes() + 1024


def test_lowering_leaves_the_program_alone(conv_program: Program) -> None:
    before = conv_program.hash()
    to_onnx(conv_program, board())
    assert conv_program.hash() == before


def test_file_format_version_goes_with_the_opset(conv_program: Program) -> None:
    old = board(runtime=Runtime("onnxruntime", "1.14", 18, "test"))
    lowered = to_onnx(conv_program, old)
    assert (lowered.opset, lowered.model.opset_imports[""], lowered.model.ir_version) == (18, 18, 8)


def test_opset_too_old_for_an_operator_is_refused_by_name(text_program: Program) -> None:
    old = board(runtime=Runtime("onnxruntime", "1.11", 16, "test"))
    with pytest.raises(UnsupportedError, match="LayerNormalization") as caught:
        to_onnx(text_program, old)
    assert "block" in caught.value.where


def test_opset_older_than_quantization_is_refused(conv_program: Program) -> None:
    with pytest.raises(UnsupportedError, match="opset 11"):
        to_onnx(conv_program, board(runtime=Runtime("onnxruntime", "1.6", 11, "test")))


class Unlowerable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(self.tail(x))


def test_an_operator_that_onnx_lacks_is_refused_by_name_and_place() -> None:
    program = capture(Unlowerable(), (torch.randn(4, 4),), static=True).program
    with pytest.raises(UnsupportedError, match="svd") as caught:
        to_onnx(program, board())
    assert "Traceback" not in str(caught.value)
    assert caught.value.where


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6).half(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x.half()).relu().float())
        return y


def test_half_precision_with_casts_agrees(tmp_path: Path) -> None:
    program = capture(Halves(), (torch.randn(4, 6),)).program
    lowered = to_onnx(program, board())
    agreement = check(program, saved(lowered, tmp_path))
    assert agreement.tolerance == 1e-2
    assert agreement.error < 1e-2


class SameName(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"x": x + 1}


def test_an_output_called_like_an_input_is_told() -> None:
    program = capture(SameName(), (torch.randn(2, 3),), static=True).program
    if {spec.name for spec in program.inputs} & {spec.name for spec in program.outputs}:
        with pytest.raises(ExportError, match="both called 'x'"):
            to_onnx(program, board())
    else:
        assert to_onnx(program, board()).outputs == program.outputs
