"""Depthwise convolutions of codes: whole numbers as torch's, then scales, offsets, bias and ReLU by channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_runs import HOST, tvm
from tvm import relax, tirx

from compressor.export.kernels.depthwise import emit_depthwise
from compressor.export.kernels.patches import Window

WINDOW = Window(48, 9, 8, (3, 2), (2, 1), (1, 3))


@pytest.mark.parametrize("relu", [False, True])
def test_sums_are_whole_and_finished_by_channel(relu: bool) -> None:
    torch.manual_seed(0)
    weight, offsets = torch.randint(-128, 128, (48, 3, 2), dtype=torch.int8), torch.arange(48, dtype=torch.int32) * 99
    scales, bias = torch.rand(48), None if relu else torch.randn(48)
    builder, shape = relax.BlockBuilder(), (tirx.Var("n", "int64"), 9, 8, 48)
    x = relax.Var("x", relax.TensorType(shape, "int8"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = emit_depthwise(builder, x, WINDOW, weight, scales, offsets, bias, relu=relu)
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    machine = relax.VirtualMachine(tvm.compile(builder.get(), target=tvm.target.Target(HOST)), tvm.cpu())
    q = torch.randint(-128, 128, (2, 9, 8, 48), dtype=torch.int8)
    found = torch.from_numpy(np.array(machine["main"](tvm.runtime.tensor(q.numpy())).numpy()))
    images, kernels = q.permute(0, 3, 1, 2).double(), weight[:, None].double()
    sums = torch.nn.functional.conv2d(images, kernels, None, (2, 1), 0, (1, 3), 48).permute(0, 2, 3, 1)
    wanted = (sums + offsets).float() * scales + (0 if bias is None else bias)
    torch.testing.assert_close(found, wanted.relu() if relu else wanted, rtol=1e-6, atol=1e-3 if bias is None else 1e-2)
