"""Units: matrices are shared, norms and biases stay, kept ones are left out, others' readers count."""

from __future__ import annotations

import pytest
import torch
from sharing_nets import copied, deep_gpt, residual_cnn
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.passes.sharing.units import Part, find_units


@pytest.mark.parametrize(
    ("part", "layers"),
    [("block", "q k v out mlp.0 mlp.2"), ("mlp", "mlp.0 mlp.2"), ("mixer", "q k v out")],
)
def test_matrices_are_shared_and_what_is_small_stays(part: Part, layers: str) -> None:
    [units], skips = find_units(copied(deep_gpt()), part, "own", ())
    assert not skips
    assert len(units) == 4
    assert units[2].shared == tuple(f"blocks.2.{layer}.weight" for layer in layers.split())
    assert units[2].name == ("blocks.2" if part == "block" else f"blocks.2:{part}")


def test_kernels_are_shared_and_batch_norms_stay() -> None:
    [units], _ = find_units(copied(residual_cnn()), "block", "own", ())
    assert [unit.shared for unit in units[:2]] == [
        ("blocks.0.conv1.weight", "blocks.0.conv2.weight"), ("blocks.1.conv1.weight", "blocks.1.conv2.weight")
    ]  # fmt: skip


def test_all_is_shared_where_norms_are() -> None:
    [units], _ = find_units(copied(deep_gpt()), "block", "shared", ())
    assert len(units[0].shared) == 16
    assert "blocks.0.norm1.bias" in units[0].shared


def test_what_is_kept_is_left_out() -> None:
    [units], skips = find_units(copied(deep_gpt()), "block", "own", ("blocks.1.q",))
    assert [unit.name for unit in units] == ["blocks.0", "blocks.2", "blocks.3"]
    assert [(skip.site, skip.reason) for skip in skips] == [("blocks.1", "kept, as asked")]


def test_a_matrix_that_others_read_stays() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + torch.tanh(layer(x))
            return x @ self.layers[0].weight  # type: ignore[no-any-return, operator]

    program = copied(capture(Reading(), (torch.randn(2, 16),)).program)
    units, skips = find_units(program, "block", "own", ())
    assert units == []
    assert "others read them" in skips[0].reason


def test_a_network_without_blocks_says_so() -> None:
    program = copied(capture(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), (torch.randn(2, 4),)).program)
    units, skips = find_units(program, "block", "own", ())
    assert units == []
    assert skips
