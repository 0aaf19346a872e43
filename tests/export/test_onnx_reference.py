from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from compressor.export import onnx_reference
from compressor.export.onnx_reference import by_reference, mapped
from compressor.export.session import runner
from compressor.graph.program import Program


@pytest.fixture(autouse=True)
def every_weight_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reference, "_SMALL", 100)


def test_weights_are_read_from_inside_the_other_file(conv_program: Program, conv_onnx: Path) -> None:
    with mapped(conv_onnx) as path:
        assert path != conv_onnx
        model = onnx.load(path, load_external_data=False)
        external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert {"conv.weight", "head.weight"} <= {t.name for t in external}
        result = runner(path)({"x": conv_program.example[0]})
    torch.testing.assert_close(result, conv_program.run(), rtol=1e-4, atol=1e-5)
    assert not path.exists()


def test_content_is_the_same(conv_onnx: Path) -> None:
    with mapped(conv_onnx) as path:
        ours, theirs = onnx.load(path), onnx.load(conv_onnx)
    assert [t.name for t in ours.graph.initializer] == [t.name for t in theirs.graph.initializer]
    for one, other in zip(ours.graph.initializer, theirs.graph.initializer, strict=True):
        assert (one.dims, one.data_type, one.raw_data) == (other.dims, other.data_type, other.raw_data)
    for model in (ours, theirs):
        model.graph.ClearField("initializer")
    assert ours == theirs


def test_two_at_a_time(conv_onnx: Path) -> None:
    with mapped(conv_onnx) as one, mapped(conv_onnx) as other:
        assert len({one, other, conv_onnx}) == 3
    assert sorted(conv_onnx.parent.iterdir()) == [conv_onnx]


def test_where_nothing_can_be_written_the_file_itself_is_used(conv_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(onnx_reference, "by_reference", refuse)
    with mapped(conv_onnx) as path:
        assert path == conv_onnx


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_file_cut_short_is_refused(conv_onnx: Path, tmp_path: Path, cut: int) -> None:
    short = tmp_path / "short.onnx"
    short.write_bytes(conv_onnx.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"longer|cut off"):
        by_reference(short, tmp_path / "out.onnx", "short.onnx")
