"""Rows of codes for a product: what torch's unfold gives, channels last, with sums that padding does not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_runs import compiled, here, tvm
from torch.nn import functional

from compressor.export.kernels.patches import Window, patches

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


def test_a_window_knows_its_places_and_its_row() -> None:
    window = Window(7, 9, 8, (3, 2), (2, 1), (1, 3))
    assert window.places == (4, 5)
    assert window.inputs == 42
    assert list(window.runs) == [(0, 0), (21, 7), (56, 14), (77, 21), (112, 28), (133, 35)]
    assert Window(7, 9, 8, (3, 2)).run == 14
