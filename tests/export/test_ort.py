from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from boards import board
from quantized import with_int8
from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export import ort
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.export.ort import Converted, same_outputs, to_ort
from compressor.graph.capture import capture
from compressor.graph.program import Program


@pytest.fixture
def model(conv_onnx: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(conv_onnx, tmp_path / "model.onnx"))


@pytest.fixture(scope="module")
def converted(conv_program: Program, conv_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    path = tmp_path_factory.mktemp("ort") / "model.onnx"
    shutil.copy(conv_onnx, path)
    return to_ort(path, board(), batch={"x": conv_program.example[0]})


def test_converts_and_agrees(conv_program: Program, converted: Converted) -> None:
    model = converted.files[0]
    assert [file.name for file in converted.files] == ["model.ort", "model.required_operators.config"]
    assert converted.note == ""
    assert model.read_bytes()[4:8] == b"ORTM"
    assert check(conv_program, model).error < 1e-5
    assert sorted(path.name for path in model.parent.iterdir()) == [
        "model.onnx", "model.ort", "model.required_operators.config",
    ]  # fmt: skip


def test_the_operators_file_lists_operators_and_types(converted: Converted) -> None:
    text = converted.files[1].read_text()
    assert "Conv" in text
    assert '"float"' in text
    assert "nchwc" not in text
    assert str(converted.files[1].parent) not in text


def test_arm_gets_integer_kernels(conv_program: Program, tmp_path: Path) -> None:
    program = with_int8(conv_program, "linear")
    path = tmp_path / "model.onnx"
    to_onnx(program, board()).save(path)
    batch = {"x": conv_program.example[0]}
    files = to_ort(path, board(arch="aarch64"), batch=batch).files
    text = files[1].read_text()
    assert "QGemm" in text
    assert "int8_t" in text
    assert "nchwc" not in text


def test_above_the_limit_it_is_left_out_with_the_reason(model: Path) -> None:
    converted = to_ort(model, board(), limit=100)
    assert converted.files == ()
    assert "2 GB" in converted.note
    assert not model.with_suffix(".ort").exists()


def test_external_weights_count(model: Path) -> None:
    model.with_name("model.onnx.data").write_bytes(b"\0" * 100_000)
    assert to_ort(model, board(), limit=model.stat().st_size + 1000).files == ()


def test_a_failing_converter_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ExportError, match="ORT format"):
        to_ort(path, board())
    assert list(tmp_path.iterdir()) == [path]


def test_disagreement_is_seen(conv_program: Program, model: Path, tmp_path: Path) -> None:
    other = conv_program.copy()
    other.module.get_parameter("head.bias")
    from compressor.graph.edit import set_tensor

    set_tensor(other, "head.bias", conv_program.get("head.bias") + 1.0)
    path = tmp_path / "other" / "model.onnx"
    path.parent.mkdir()
    to_onnx(other, board()).save(path)
    batch = {"x": torch.randn(2, 3, 8, 8)}
    assert same_outputs(model, model, batch)
    assert not same_outputs(path, model, batch)


def test_compiling_providers_get_optimizations_that_run_later(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def convert(source: Path, folder: Path, style: str, arm: bool) -> None:
        asked.append(style)
        (folder / "model.ort").write_bytes(b"x")
        (folder / "model.config").write_text("# from /some/where\nai.onnx;13;Relu\n")

    monkeypatch.setattr(ort, "_convert", convert)
    to_ort(model, board(provider="NnapiExecutionProvider"))
    files = to_ort(model, board()).files
    assert asked == ["Runtime", "Fixed"]
    assert files[1].read_text() == "ai.onnx;13;Relu\n"


def test_batch_norms_stay_beside_convolutions_that_share_a_weight(tmp_path: Path) -> None:
    program = shared_kernels()
    path = tmp_path / "model.onnx"
    to_onnx(program, board()).save(path)
    model = to_ort(path, board(), batch={"x": program.example[0]}).files[0]
    assert model.stat().st_size < path.stat().st_size + 30_000, "a second kernel would be 36 kB"


def test_a_table_tied_to_the_output_is_stored_once(text_program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    to_onnx(text_program, board()).save(path)
    to_ort(path, board())
    assert "FusedMatMul" in path.with_suffix(".required_operators.config").read_text(), "it reads the table as it lies"


def shared_kernels() -> Program:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(32, 32, 3, padding=1, bias=False)
            self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for norm in self.norms:
                x = torch.relu(norm(self.conv(x)))
            return x

    return capture(Twice().eval(), (torch.randn(2, 32, 8, 8),)).program
