"""Weights in the kernel's order: by group, tile, step, register and lane, with zeros where there is nothing."""

from __future__ import annotations

import pytest
import torch
from kernel_runs import here

from compressor.export.kernels.columns import Convolution, pack_columns
from compressor.export.kernels.isa import NEON_DOT, NEON_I8MM
from compressor.export.kernels.patches import Window

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)


@each
def test_registers_hold_neighbouring_outputs_of_one_step(isa) -> None:  # type: ignore[no-untyped-def]
    outputs = isa.lanes + 3
    spec = Convolution(isa, Window(5), outputs, 64)
    w = torch.arange(outputs * 5, dtype=torch.float32).reshape(outputs, 1, 1, 5)
    vectors = spec.tiling.vectors
    tiles = pack_columns(w, spec)[: 5 * vectors * isa.lanes].reshape(5, vectors, isa.lanes)
    assert torch.equal(tiles[:, 0], w[: isa.lanes, 0, 0].T)
    assert spec.columns == 2
    assert float(pack_columns(w, spec).sum()) == float(w.sum()), "the rest is zeros"


@pytest.mark.parametrize("isa", [*here(), NEON_DOT], ids=lambda isa: isa.name)
def test_codes_lie_in_fours_a_lane(isa) -> None:  # type: ignore[no-untyped-def]
    spec = Convolution(isa, Window(6, 3, 3, (2, 2)), isa.lanes, 1, codes=True)
    w = torch.randint(-128, 128, (isa.lanes, 2, 2, 6), dtype=torch.int8)
    packed = pack_columns(w, spec).reshape(spec.steps, isa.lanes, 4)
    assert (spec.pieces, spec.run_steps, spec.steps) == (1, 3, 6)
    assert torch.equal(packed[:3].transpose(0, 1).reshape(isa.lanes, 12), w[:, 0].flatten(1))
    assert torch.equal(packed[3:].transpose(0, 1).reshape(isa.lanes, 12), w[:, 1].flatten(1))


def test_codes_lie_in_eights_where_rows_come_in_pairs() -> None:
    spec = Convolution(NEON_I8MM, Window(6, 3, 3, (2, 2)), 4, 1, codes=True)
    w = torch.randint(-128, 128, (4, 2, 2, 6), dtype=torch.int8)
    packed = pack_columns(w, spec).reshape(spec.steps, 4, 8)
    assert (spec.pieces, spec.run_steps, spec.steps, spec.band) == (1, 2, 4, 2)
    assert torch.equal(packed[:2].transpose(0, 1).reshape(4, 16)[:, :12], w[:, 0].flatten(1))
    assert not packed[1, :, 4:].any()
    assert Convolution(NEON_I8MM, Window(6), 4).band == 1, "of floats"


def test_a_window_that_meets_all_of_an_image_makes_a_matrix() -> None:
    isa = here()[0]
    spec = Convolution(isa, Window(4, 7, 7, (7, 7)), 10)
    assert (spec.of_matrix, spec.step, spec.across) == (True, 196, None)
    assert not Convolution(isa, Window(4, 8, 7, (7, 7)), 10).of_matrix
