"""Rows of codes for a product: what torch's unfold gives, channels last, with sums that padding does not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_runs import compiled, here, tvm
from torch.nn import functional

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.kernels.patches import Window, patches, rounded_patches

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)
WINDOWS = [
    Window(300),
    Window(1, 5, 4, (3, 3)),
    Window(7, 9, 8, (3, 2), (2, 1), (1, 1)),
    Window(64, 6, 7, (2, 3), (1, 2), (2, 2)),
    Window(130, 1, 6, (1, 3), (1, 1), (1, 2)),
]


@each
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("samples", [None, 2])
def test_rows_are_what_a_window_meets(isa, window: Window, samples: int | None) -> None:  # type: ignore[no-untyped-def]
    layout = isa.layout(3, window.inputs, 8)
    q = torch.randint(-128, 128, (2, window.height, window.width, window.channels), dtype=torch.int8)
    rows = 2 * window.places[0] * window.places[1]
    shapes = ((rows, layout.stride), np.int8), ((rows, 1), np.float32), ((rows, 1), np.int32)
    made = [tvm.runtime.tensor(np.full(shape, 77, dtype)) for shape, dtype in shapes]
    run = compiled({"patches": patches(isa, layout, window, samples)})["patches"]
    run(tvm.runtime.tensor(q.flatten(1).numpy()), tvm.runtime.tensor(np.full((1, 1), 0.5, np.float32)), *made)
    codes, scales, sums = (np.array(value.numpy()) for value in made)
    images = q.permute(0, 3, 1, 2).float()
    unfolded = functional.unfold(images, window.kernel, window.dilation, 0, window.stride)
    wanted = unfolded.unflatten(1, (window.channels, -1)).permute(0, 3, 2, 1).reshape(rows, -1)
    assert np.array_equal(codes[:, : window.inputs], wanted.numpy().astype(np.int8))
    assert not codes[:, window.inputs : layout.width].any()
    assert (scales == np.float32(0.5)).all()
    if layout.zero:
        assert np.array_equal(sums[:, 0], wanted.numpy().astype(np.int32).sum(1))


@each
@pytest.mark.parametrize(
    "window",
    [Window(64, 6, 7, (3, 3)), Window(32, 9, 8, (3, 2), (2, 1), (1, 3)), Window(96, 1, 6, (1, 3), (1, 2), (1, 1), 1)],
    ids=str,
)
@pytest.mark.parametrize("samples", [None, 2])
def test_pixels_that_were_rounded(isa, window: Window, samples: int | None) -> None:  # type: ignore[no-untyped-def]
    layout, held = isa.layout(3, window.inputs, 2, 32), window.channels + 64
    down, across = window.places
    torch.manual_seed(0)
    pixels, blocks = (2, window.height, window.width), window.channels // 32
    given = [
        torch.randint(-128, 128, (*pixels, held), dtype=torch.int8),
        torch.rand(*pixels, blocks),
        torch.randint(-9, 9, (*pixels, blocks), dtype=torch.int32),
    ]
    rows = 2 * down * across
    shapes = ((rows, layout.stride), np.int8), ((rows, layout.blocks), np.float32), ((rows, layout.blocks), np.int32)
    made = [tvm.runtime.tensor(np.full(shape, 77, dtype)) for shape, dtype in shapes]
    run = compiled({"it": rounded_patches(layout, window, held, samples)})["rounded_patches"]
    run(*(tvm.runtime.tensor(value.flatten(1).numpy()) for value in given), *made)
    sizes = list(window.kernel), list(window.stride), [0, 0, 0, 0], list(window.dilation)
    seen = window.width - window.spare
    for value, taken, result in zip(given, (window.channels, blocks, blocks), made, strict=True):
        wanted = torch.ops.compressor.patches(value[:, :, :seen, :taken].contiguous(), *sizes).flatten(0, 2)
        assert np.array_equal(result.numpy()[:, : wanted.shape[1]], wanted.numpy())


def test_a_window_knows_its_places_and_its_row() -> None:
    window = Window(7, 9, 8, (3, 2), (2, 1), (1, 3))
    assert window.places == (4, 5)
    assert window.inputs == 42
    assert window.size == 504
