"""Layers in a relax module: functions that layers of one shape share, threads for work alone, columns behind codes."""

from __future__ import annotations

import pytest
import torch
from kernel_runs import here
from tvm import relax, tirx

from compressor.export.kernels.calls import Codes, behind, emit_convolution, emit_dense, emit_depthwise
from compressor.export.kernels.isa import NEON_DOT, NEON_I8MM
from compressor.export.kernels.patches import Window

pytestmark = pytest.mark.skipif(not here(), reason="no kernels for this processor")


def _module(layers, shape: tuple[object, ...]):  # type: ignore[no-untyped-def]
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = x
            for layer in layers:
                y = layer(builder, y)
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    return builder.get()


def test_layers_of_one_shape_share_their_function() -> None:
    dense = [lambda b, y: emit_dense(b, here()[0], y, torch.randn(32, 32), torch.randn(32))] * 3
    module = _module(dense, (tirx.Var("n", "int64"), 32))
    assert len([name for name in module.get_global_vars() if name.name_hint.startswith("convolution")]) == 1


@pytest.mark.parametrize(("size", "threads"), [(8, False), (64, True)])
def test_threads_are_woken_for_work_alone(size: int, threads: bool) -> None:
    window = Window(16, size, size, (3, 3))
    layers = [lambda b, y: emit_convolution(b, here()[0], y, window, torch.randn(16, 3, 3, 16))]
    assert ("T.parallel" in _module(layers, (1, size, size, 16)).script()) == threads


@pytest.mark.parametrize(("size", "threads"), [(8, False), (64, True)])
def test_an_open_batch_is_as_much_work_as_one_sample(size: int, threads: bool) -> None:
    layers = [lambda b, y: emit_convolution(b, here()[0], y, Window(16, size, size), torch.randn(32, 1, 1, 16))]
    assert ("T.parallel" in _module(layers, (tirx.Var("n", "int64"), size, size, 16)).script()) == threads


def test_depthwise_layers_are_kernels_of_their_own() -> None:
    layers = [lambda b, y: emit_depthwise(b, here()[0], y, Window(16, 8, 8, (3, 3)), torch.randn(16, 3, 3))]
    assert "depthwise" in _module(layers, (1, 8, 8, 16)).script()


def test_codes_are_read_in_groups() -> None:
    assert [behind(NEON_DOT, channels) for channels in (1, 2, 3, 4, 5, 64)] == [3, 2, 1, 0, 1, 0]
    assert [behind(NEON_I8MM, channels) for channels in (1, 3, 4, 5, 64)] == [7, 3, 2, 2, 0]
    assert behind(NEON_DOT, 6, 2) == behind(NEON_I8MM, 6, 2) == 1
    assert [len(each) for each in Codes(torch.zeros(3), torch.tensor(0.5)).by_channel(3)] == [3, 3]
