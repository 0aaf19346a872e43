"""Tucker-2: exact where nothing is cut, better on inputs than without, and the convolutions that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import InputError
from compressor.passes.factorizing.tucker import Tucker, tucker
from compressor.passes.reading.matrix import to_matrix

OUTPUTS, CHANNELS, POSITIONS = 12, 10, 9


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def patches() -> Tensor:
    """Of smooth images, whose channels go together."""
    images = drawn(4, CHANNELS, 16, 16, seed=1).cumsum(2).cumsum(3)
    mixing = drawn(CHANNELS, CHANNELS, seed=2) * torch.logspace(0, -1.5, CHANNELS, dtype=torch.float64)
    mixed = torch.einsum("ij,njhw->nihw", mixing, images)
    columns = functional.unfold(mixed, 3).reshape(4, CHANNELS, POSITIONS, -1)
    return columns.permute(0, 3, 2, 1).reshape(-1, POSITIONS * CHANNELS)


def test_nothing_cut_is_exact(patches: Tensor) -> None:
    weight = drawn(OUTPUTS, POSITIONS * CHANNELS)
    for gram in (None, patches.T @ patches):
        found = tucker(weight, CHANNELS, OUTPUTS, CHANNELS, gram)
        assert torch.allclose(found.product, weight, atol=1e-5)


def test_a_weight_of_low_rank_is_found() -> None:
    exact = Tucker(drawn(3, CHANNELS), drawn(4, POSITIONS * 3, seed=1), drawn(OUTPUTS, 4, seed=2)).product
    assert torch.allclose(tucker(exact, CHANNELS, 4, 3).product, exact, atol=1e-8)


def test_it_beats_the_truncated_higher_order_svd() -> None:
    """U and V from the unfoldings, the core by projection (De Lathauwer et al., 2000)."""
    weight = drawn(OUTPUTS, POSITIONS * CHANNELS)
    cube = weight.reshape(OUTPUTS, POSITIONS, CHANNELS)
    left = torch.linalg.svd(weight)[0][:, :5]
    right = torch.linalg.svd(cube.movedim(2, 0).flatten(1))[0][:, :4]
    projected = torch.einsum("oa,xa,xpi,ib,jb->opj", left, left, cube, right, right)
    found = tucker(weight, CHANNELS, 5, 4).product.reshape_as(cube)
    assert float((cube - found).norm()) <= float((cube - projected).norm()) + 1e-9


def test_inputs_lower_the_output_error(patches: Tensor) -> None:
    weight, gram = drawn(OUTPUTS, POSITIONS * CHANNELS), patches.T @ patches
    errors = [
        float((patches @ (weight - tucker(weight, CHANNELS, 6, 5, given).product).T).norm()) for given in (None, gram)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_the_product_is_the_three_convolutions() -> None:
    weight = drawn(OUTPUTS, CHANNELS, 3, 3)
    found = tucker(to_matrix(weight, "conv")[0], CHANNELS, 6, 5)
    x = drawn(2, CHANNELS, 8, 8, seed=3)
    core = found.core.reshape(6, 3, 3, 5).movedim(-1, 1)
    thin = functional.conv2d(x, found.first[:, :, None, None])
    y = functional.conv2d(functional.conv2d(thin, core, padding=1), found.second[:, :, None, None])
    whole = found.product.reshape(OUTPUTS, 3, 3, CHANNELS).movedim(-1, 1)
    assert torch.allclose(y, functional.conv2d(x, whole, padding=1), atol=1e-9)


def test_more_channels_than_rows() -> None:
    found = tucker(drawn(2, 2 * 16), 16, 2, 5)
    assert torch.allclose(found.product, drawn(2, 2 * 16), atol=1e-8)


def test_refusals() -> None:
    weight = drawn(OUTPUTS, POSITIONS * CHANNELS)
    for channels, rank, inner in ((7, 2, 2), (CHANNELS, 0, 2), (CHANNELS, 2, CHANNELS + 1), (CHANNELS, OUTPUTS + 1, 2)):
        with pytest.raises(InputError, match="has no ranks"):
            tucker(weight, channels, rank, inner)
    with pytest.raises(InputError, match="NaN"):
        tucker(weight * float("nan"), CHANNELS, 2, 2)
