from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compressor.export.onnx import Lowered
from compressor.export.onnx_file import save, weight_bytes
from compressor.export.session import runner
from compressor.graph.program import Program


def test_streamed_file_is_what_onnx_reads(conv_program: Program, conv_lowered: Lowered, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert save(conv_lowered.model, path) == (path,)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    bias = conv_program.get("head.bias")
    np.testing.assert_array_equal(stored["head.bias"], bias.detach().numpy())
    assert set(stored) == set(conv_lowered.model.graph.initializers)


def test_saving_twice_gives_the_same_bytes(conv_lowered: Lowered, tmp_path: Path) -> None:
    for name in "ab":
        save(conv_lowered.model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_above_the_limit_weights_go_beside(conv_program: Program, conv_lowered: Lowered, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    limit = weight_bytes(conv_lowered.model) - 1
    files = save(conv_lowered.model, path, limit=limit)
    assert [file.name for file in files] == ["model.onnx", "model.onnx.data"]
    assert str(tmp_path).encode() not in path.read_bytes()
    result = runner(path)({"x": conv_program.example[0]})
    torch.testing.assert_close(result, conv_program.run(), rtol=1e-4, atol=1e-5)


def test_at_the_limit_they_stay_inline(conv_lowered: Lowered, tmp_path: Path) -> None:
    assert len(save(conv_lowered.model, tmp_path / "model.onnx", limit=weight_bytes(conv_lowered.model))) == 1


def test_a_weight_without_value_is_refused(conv_lowered: Lowered, tmp_path: Path) -> None:
    value = next(iter(conv_lowered.model.graph.initializers.values()))
    tensor, value.const_value = value.const_value, None
    try:
        with pytest.raises(ValueError, match="no value"):
            save(conv_lowered.model, tmp_path / "model.onnx")
    finally:
        value.const_value = tensor
