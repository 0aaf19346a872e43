"""The shared programs, lowered; each once."""

from __future__ import annotations

from typing import Any

import pytest
from boards import board

from compressor.export.onnx import Lowered, to_onnx
from compressor.graph.program import Program


@pytest.fixture(scope="session")
def conv_lowered(conv_program: Program) -> Lowered:
    return to_onnx(conv_program, board())


@pytest.fixture(scope="session")
def text_lowered(text_program: Program) -> Lowered:
    return to_onnx(text_program, board())


@pytest.fixture(scope="session")
def conv_onnx(conv_lowered: Lowered, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("conv") / "model.onnx"
    conv_lowered.save(path)
    return path
