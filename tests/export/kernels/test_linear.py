"""Linear layers with packed weights in a relax module: compiled as to_tvm compiles, exported, loaded, and exact."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kernel_runs import HOST, RELU, Given, here, random_given, reference, rounded, tvm
from tvm import relax, tirx

from compressor.export.kernels.epilogue import PLAIN
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.linear import emit_codes, emit_linear
from compressor.export.kernels.module import End
from compressor.export.kernels.patches import Window

FAST = dict.fromkeys(("fast-math-reassoc", "fast-math-contract", "fast-math-nsz"), True)  # export/tvm.py's


def _module(isa: Isa, layers: list[Given], shape: tuple[Any, ...]) -> Any:
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = x
            for given in layers:
                y = emit_linear(
                    builder,
                    isa,
                    y,
                    given.packed(isa),
                    given.bias,
                    end=End(None, RELU if given.relu else PLAIN),
                    by_block=given.by_block,
                )
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    return builder.get()


def _run(module: Any, path: Path) -> Any:
    executable = tvm.compile(module, target=tvm.target.Target({**HOST, **FAST}))
    executable.export_library(str(path), cc=shutil.which("g++") or shutil.which("c++"))
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    return lambda x: np.array(machine["main"](tvm.runtime.tensor(x.numpy())).numpy())


def _expected(isa: Isa, layers: list[Given], x: torch.Tensor) -> np.ndarray:
    shape, result = x.shape[:-1], x.flatten(0, -2).numpy()
    for given in layers:
        x = torch.from_numpy(np.ascontiguousarray(result))
        codes, scales, _ = rounded(isa, x, given.block, by_block=given.by_block)
        q = torch.from_numpy(codes[:, : given.w.shape[1]].copy())
        result = reference(replace(given, q=q, q_scales=torch.from_numpy(scales)))
    return result.reshape(*shape, -1)


@pytest.mark.skipif(not here(), reason="no kernels for this processor")
def test_two_layers_in_a_library_of_their_own(tmp_path: Path) -> None:
    isa = here()[0]
    layers = [random_given(1, (70, 130), 2, relu=True), replace(random_given(1, (9, 70), 8, 64), by_block=True)]
    run = _run(_module(isa, layers, (tirx.Var("n", "int64"), 3, 130)), tmp_path / "model.so")
    for batch in (1, 4):
        x = torch.randn(batch, 3, 130)
        result = run(x)
        assert result.shape == (batch, 3, 9)
        assert np.array_equal(result, _expected(isa, layers, x))


@pytest.mark.skipif(not here(), reason="no kernels for this processor")
def test_codes_of_a_convolution_in_a_library_of_its_own(tmp_path: Path) -> None:
    isa, window = here()[0], Window(6, 9, 8, (3, 2), (2, 1), (1, 3))
    given, offsets = random_given(1, (10, window.inputs), 8, relu=True), torch.arange(10, dtype=torch.int32) * 999
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 9 * 8 * 6), "int8"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = emit_codes(builder, isa, x, window, 0.5, given.packed(isa), offsets, given.bias, end=End(None, RELU))
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    run = _run(builder.get(), tmp_path / "model.so")
    weight = given.w.view(10, 3, 2, 6).permute(0, 3, 1, 2).double()
    for batch in (1, 3):
        q = torch.randint(-128, 128, (batch, 9, 8, 6), dtype=torch.int8)
        sums = torch.nn.functional.conv2d(q.permute(0, 3, 1, 2).double(), weight, None, (2, 1), 0, (1, 3))
        exact = (sums.permute(0, 2, 3, 1).flatten(0, 2) + offsets) * 0.5 * given.scales[:, 0] + given.bias
        torch.testing.assert_close(torch.from_numpy(run(q.flatten(1))), exact.relu().float(), rtol=1e-6, atol=1e-2)


@pytest.mark.skipif(not here(), reason="no kernels for this processor")
@pytest.mark.parametrize(("rows", "threads"), [(1, False), (4, False), (64, True), (None, False)])
def test_threads_are_woken_for_work_alone(rows: int | None, threads: bool) -> None:
    given = random_given(1, (128, 130), 2)
    shape = (tirx.Var("n", "int64") if rows is None else rows, 130)
    text = str(_module(here()[0], [given], shape).script())
    assert ("T.parallel" in text) == threads


@pytest.mark.skipif(not here(), reason="no kernels for this processor")
def test_layers_of_one_shape_share_their_functions() -> None:
    layers = [random_given(1, (64, 64), 2, bias=False), random_given(2, (64, 64), 2, bias=False)]
    module = _module(here()[0], layers, (1, 64))
    kernels = [function for _, function in module.functions_items() if isinstance(function, tirx.PrimFunc)]
    assert len(kernels) == 2
