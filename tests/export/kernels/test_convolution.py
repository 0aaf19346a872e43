"""Convolutions and matrix products in TIR beside PyTorch's: floats within rounding, codes bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from emulated_kernels import emulated
from kernel_runs import compiled, here, tvm
from torch.nn import functional

from compressor.export.kernels.columns import Convolution, pack_columns
from compressor.export.kernels.convolution import convolution
from compressor.export.kernels.epilogue import Ending, Step
from compressor.export.kernels.isa import NEON_BYTES, NEON_DOT, NEON_I8MM, Isa
from compressor.export.kernels.patches import Window

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)
IMAGES = {
    "rows": (Window(40), 24, 1),
    "one row": (Window(33), 70, 1),
    "3 × 3": (Window(8, 9, 11, (3, 3)), 36, 1),
    "few channels, strides": (Window(3, 11, 10, (3, 2), (2, 3)), 20, 1),
    "dilated": (Window(5, 9, 9, (3, 3), (1, 1), (2, 3)), 16, 1),
    "groups": (Window(12, 6, 7, (3, 3)), 30, 3),
    "spare columns": (Window(4, 6, 9, (2, 2), (1, 1), (1, 1), 2), 17, 1),
}


def compiled_for(spec: Convolution):  # type: ignore[no-untyped-def]
    """The kernel as a function of (x, w, what there is by channel, residuals)."""
    run = compiled({"convolution": convolution(spec)})["convolution"]

    def made(
        x: torch.Tensor, w: torch.Tensor, by_channel: list[torch.Tensor], residual: list[torch.Tensor]
    ) -> np.ndarray:
        tensors = [tvm.runtime.tensor(each) for each in arguments(spec, x, w, by_channel, residual)]
        run(*tensors)
        return np.array(tensors[-1].numpy())

    return made


def arguments(
    spec: Convolution, x: torch.Tensor, w: torch.Tensor, by_channel: list[torch.Tensor], residual: list[torch.Tensor]
) -> list[np.ndarray]:
    """What a kernel is called with, the last one to be filled."""
    rows = len(x) * spec.window.places[0] * spec.window.places[1]
    beyond = (0, spec.columns * spec.isa.lanes - spec.wide)
    padded = [functional.pad(value.reshape(spec.groups, -1), beyond).flatten() for value in by_channel]
    given = [x.flatten(1), pack_columns(w, spec), *padded, *residual]
    return [*(value.contiguous().numpy() for value in given), np.full((rows, spec.outputs), 77, spec.ending.kind)]


def exact(spec: Convolution, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Sums in doubles (rows, outputs)."""
    window = spec.window
    images, kernel = x[:, :, : window.width - window.spare].permute(0, 3, 1, 2).double(), w.permute(0, 3, 1, 2).double()
    y = functional.conv2d(images, kernel, None, window.stride, 0, window.dilation, spec.groups)
    return y.permute(0, 2, 3, 1).flatten(0, 2)


@each
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("samples", [None, 2])
def test_floats(isa, name: str, samples: int | None) -> None:  # type: ignore[no-untyped-def]
    window, outputs, groups = IMAGES[name]
    torch.manual_seed(0)
    spec = Convolution(isa, window, outputs, samples, groups, bias=True, ending=Ending(True, -1.0, 2.0))
    made = compiled_for(spec)
    for count in (1, 2, 19) if samples is None else (samples,):
        x = torch.randn(count, window.height, window.width, window.channels)
        w, b = torch.randn(outputs, *window.kernel, window.channels // groups), torch.randn(outputs)
        r = torch.randn(count * window.places[0] * window.places[1], outputs)
        wanted = (exact(spec, x, w) + b + r).clamp(-1, 2).float()
        torch.testing.assert_close(torch.from_numpy(made(x, w, [b], [r])), wanted, rtol=1e-5, atol=1e-5)


@each
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("biased", [True, False])
def test_weights_that_are_stored_as_bytes(isa, name: str, biased: bool) -> None:  # type: ignore[no-untyped-def]
    window, outputs, groups = IMAGES[name]
    torch.manual_seed(0)
    spec = Convolution(isa, window, outputs, 2, groups, stored=True, bias=biased, ending=Ending(low=0.0))
    x, scales = torch.randn(2, window.height, window.width, window.channels), torch.rand(outputs) * 1e-2
    w = torch.randint(-128, 128, (outputs, *window.kernel, window.channels // groups), dtype=torch.int8)
    bias = [torch.randn(outputs)] if biased else []
    wanted = (exact(spec, x, w) * scales + (bias[0] if biased else 0)).relu().float()
    found = compiled_for(spec)(x, w, [scales, *bias], [])
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-5, atol=1e-5)


@each
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("samples", [2])
def test_codes_are_summed_exactly(isa, name: str, samples: int | None) -> None:  # type: ignore[no-untyped-def]
    spec, given, wanted = _of_codes(isa, name, samples)
    assert torch.equal(torch.from_numpy(compiled_for(spec)(*given)), wanted)


def test_two_products_of_bytes_fit_where_no_weight_is_the_least(tmp_path: Path) -> None:
    spec = Convolution(NEON_BYTES, Window(4096), 3, 2, codes=True, narrow=True, parallel=False)
    x = torch.tensor([[-128], [127]], dtype=torch.int8).repeat(1, 4096)[:, None, None]
    w = torch.tensor([-127, 127, -127], dtype=torch.int8)[:, None, None, None].repeat(1, 1, 1, 4096)
    given = arguments(spec, x, w, [torch.zeros(3, dtype=torch.int32), torch.ones(3)], [])
    assert np.array_equal(emulated(NEON_BYTES, convolution(spec), given, tmp_path), exact(spec, x, w).float().numpy())


@pytest.mark.parametrize("isa", [NEON_I8MM, NEON_DOT, NEON_BYTES], ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", IMAGES)
def test_arm_s_sum_codes_exactly_on_emulated_cores(isa: Isa, name: str, tmp_path: Path) -> None:
    spec, given, wanted = _of_codes(isa, name, 2)
    function = convolution(replace(spec, parallel=False))
    found = emulated(isa, function, arguments(spec, *given), tmp_path)
    assert np.array_equal(found, wanted.numpy())


def _of_codes(isa: Isa, name: str, samples: int | None):  # type: ignore[no-untyped-def]
    """A convolution, what it is given, and what comes out."""
    window, outputs, groups = IMAGES[name]
    group, channels = isa.group, window.channels // groups
    if window.inputs % group or channels % group:
        spare = -(-(group - 1) // window.channels)
        window = replace(window, spare=window.spare + spare, width=window.width + spare)
    torch.manual_seed(0)
    step = Step(0.25, 5, 0, 255, unsigned=True)
    spec = Convolution(isa, window, outputs, samples, groups, codes=True, ending=Ending(low=0.0, codes=step))
    kind = torch.uint8 if isa.unsigned_inputs else torch.int8
    x = torch.randint(
        *((0, 256) if isa.unsigned_inputs else (-128, 128)),
        (2, window.height, window.width, window.channels),
        dtype=kind,
    )
    w = torch.randint(-128, 128, (outputs, *window.kernel, window.channels // groups), dtype=torch.int8)
    offsets, scales = torch.randint(-9999, 9999, (outputs,), dtype=torch.int32), torch.rand(outputs) * 1e-3
    value = ((exact(spec, x, w) + offsets).float() * scales).relu()
    return spec, (x, w, [offsets, scales], []), (torch.round(value / 0.25) + 5).clamp(0, 255).to(torch.uint8)


@each
def test_extremes_of_codes_do_not_wrap(isa) -> None:  # type: ignore[no-untyped-def]
    spec = Convolution(isa, Window(4096), 3, 2, codes=True)
    low, high = (0, 255) if isa.unsigned_inputs else (-128, 127)
    x = torch.tensor([[low], [high]], dtype=torch.uint8 if low == 0 else torch.int8).repeat(1, 4096)[:, None, None]
    w = torch.tensor([-128, 127, -128], dtype=torch.int8)[:, None, None, None].repeat(1, 1, 1, 4096)
    found = compiled_for(spec)(x, w, [torch.zeros(3, dtype=torch.int32), torch.ones(3)], [])
    assert np.array_equal(found, exact(spec, x, w).float().numpy())
