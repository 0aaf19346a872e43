"""Depthwise convolutions in TIR beside PyTorch's: floats within rounding, whole numbers exact, by channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_runs import compiled, here, tvm
from torch.nn import functional

from compressor.export.kernels.depthwise import Depthwise, depthwise
from compressor.export.kernels.epilogue import Ending
from compressor.export.kernels.patches import Window

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)
WINDOWS = [Window(48, 9, 8, (3, 2), (2, 1), (1, 3)), Window(23, 7, 12, (5, 5)), Window(3, 3, 3, (3, 3))]


@each
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("codes", [None, "int8", "uint8"])
@pytest.mark.parametrize("samples", [None, 2])
def test_channels_are_alone(isa, window: Window, codes: str | None, samples: int | None) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    c, rows = window.channels, 2 * window.places[0] * window.places[1]
    spec = Depthwise(isa, window, samples, codes, bias=True, ending=Ending(residual=True, low=-2.0))
    shape = (2, window.height, window.width, c)
    kind = getattr(torch, codes or "float32")
    x = torch.randint(0 if codes == "uint8" else -128, 127, shape, dtype=kind) if codes else torch.randn(shape)
    w = torch.randint(-128, 128, (*window.kernel, c), dtype=torch.int8) if codes else torch.randn(*window.kernel, c)
    b, r = torch.randn(c), torch.randn(rows, c)
    scaled = [torch.arange(c, dtype=torch.int32) * 99, torch.rand(c) * 1e-3] if codes else []
    y = tvm.runtime.tensor(np.full((rows, c), np.nan, np.float32))
    given = [x.flatten(1), w.flatten(), *scaled, b, r]
    compiled({"depthwise": depthwise(spec)})["depthwise"](*(tvm.runtime.tensor(value.numpy()) for value in given), y)
    images, kernels = x.permute(0, 3, 1, 2).double(), w.permute(2, 0, 1)[:, None].double()
    sums = functional.conv2d(images, kernels, None, window.stride, 0, window.dilation, c).permute(0, 2, 3, 1)
    value = (sums + scaled[0]).float() * scaled[1] if codes else sums.float()
    wanted = (value.flatten(0, 2) + b + r).clamp(min=-2)
    torch.testing.assert_close(torch.from_numpy(np.array(y.numpy())), wanted, rtol=1e-5, atol=1e-4)
