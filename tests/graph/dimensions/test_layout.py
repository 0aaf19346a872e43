"""Calls that only move elements: units follow their elements; every case is exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exactness import Net, analysed, explained, frozen, spans
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def wide(inside: Callable[[Tensor], Tensor], out: int = 12) -> Net:
    """Elements of a layer of twelve units, moved, then read by a matrix of `out` rows."""
    return Net(lambda m, x: inside((x @ m.a).tanh()) @ m.o, a=(3, 12), o=(out, 2))


@pytest.mark.parametrize(
    "inside",
    [
        lambda y: y.reshape(4, 12),
        lambda y: y.view(2, 2, 12).flatten(0, 1),
        lambda y: y.unsqueeze(1).squeeze(1),
        lambda y: y[:, None].squeeze(),
        lambda y: y.t().permute(1, 0),
        lambda y: y.mT.transpose(0, 1).contiguous(),
        lambda y: y.movedim(1, 0).swapaxes(0, 1),
        lambda y: y.repeat(2, 1)[:4],
        lambda y: torch.stack([y, 2 * y], 1).sum(1),
        lambda y: torch.stack(y.unbind(0)),
        lambda y: torch.cat(y.split(2, 0)),
        lambda y: y[torch.tensor([2, 0, 1, 3])],
        lambda y: y.index_select(0, torch.tensor([2, 0, 1, 3])),
        lambda y: y.flip(0),
        lambda y: y.roll(1, 0),
        lambda y: F.pad(y, (0, 0, 1, 0)),
        lambda y: y.reshape_as(torch.zeros_like(y)),
        lambda y: y.to(torch.float64).to(torch.float32),
    ],
)
def test_an_axis_that_is_not_touched_keeps_its_units(inside: Callable[[Tensor], Tensor]) -> None:
    assert explained(wide(inside), X) == {"a:1 o:0": 12}


@pytest.mark.parametrize(
    "inside",
    [
        lambda y: y.view(4, 3, 4).flatten(1),
        lambda y: y.view(4, 3, 4).transpose(1, 2).reshape(4, 12),
        lambda y: y.unflatten(1, (3, 4)).permute(2, 1, 0).flatten(0, 1).t(),
        lambda y: torch.channel_shuffle(y[..., None, None], 3).flatten(1),
        lambda y: torch.native_channel_shuffle(y[..., None, None], 3).flatten(1),
    ],
)
def test_a_grid_loses_whole_lines(inside: Callable[[Tensor], Tensor]) -> None:
    found = explained(wide(inside), X)
    assert found in ({"a:1/4 o:0/4": 3, "a:1/3 o:0/3": 4}, {"a:1/3 o:0/3": 4})


def test_both_halves_of_a_chunk_are_apart_until_they_meet() -> None:
    apart = wide(lambda y: torch.cat(y.chunk(2, 1), 1))
    assert explained(apart, X) == {"a:1 o:0": 12}
    together = wide(lambda y: torch.mul(*y.chunk(2, 1)), out=6)
    assert explained(together, X) == {"a:1/2 o:0": 6}


def test_parts_of_three_sizes() -> None:
    def parts(y: Tensor) -> Tensor:
        first, second, third = y.split([6, 4, 2], 1)
        return torch.cat([first[:, ::3] + third, second, first], 1)

    assert explained(wide(parts), X) == {"a:1/2 o:0/2": 2, "a:1 o:0": 8}


def test_packed_heads_are_found_through_a_permutation() -> None:
    def attend(m: Net, x: Tensor) -> Tensor:
        q, k, v = (x @ m.qkv).reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 8) @ m.o

    net = Net(attend, qkv=(3, 24), o=(8, 2))
    assert explained(net, torch.randn(2, 5, 3)) == {"o:0/4 qkv:1/12": 2, "o:0/2 qkv:1/6": 4}


def test_concatenation_is_end_to_end_and_ties_the_other_axes() -> None:
    dense = Net(lambda m, x: torch.cat([x, x @ m.a, x @ m.b], 1) @ m.o, a=(3, 4), b=(3, 5), o=(12, 2))
    assert explained(dense, X) == {"a:1 o:0": 4, "b:1 o:0": 5}
    rows = Net(lambda m, x: torch.cat([x @ m.a, x @ m.b], 0) @ m.o, a=(3, 6), b=(3, 6), o=(6, 2))
    assert explained(rows, X) == {"a:1 b:1 o:0": 6}


def test_repeats_go_together() -> None:
    assert explained(wide(lambda y: y.repeat(1, 2), out=24), X) == {"a:1 o:0/2": 12}
    assert explained(wide(lambda y: y.repeat_interleave(2, 1), out=24), X) == {"a:1 o:0/2": 12}
    assert explained(wide(lambda y: y.tile((1, 2)), out=24), X) == {"a:1 o:0/2": 12}


def test_an_expanded_axis_has_units_of_its_own() -> None:
    net = Net(lambda m, x: (x[:, :1].expand(4, 6) * m.s) @ m.o, s=(6,), o=(6, 2))
    assert explained(net, X) == {"o:0 s:0": 6}


def test_constants_of_one_value_take_any_size() -> None:
    net = Net(
        lambda m, x: torch.cat([x @ m.a, torch.ones(4, 2)], 1) @ m.o + torch.zeros(6) @ m.z,
        a=(3, 4),
        o=(6, 2),
        z=(6, 2),
    )
    found = spans(analysed(net, (X,), static=True))
    assert found == {"a:1 o:0": 4, "o:0": 2, "z:0": 6}


def test_padding_adds_places_that_stay() -> None:
    net = wide(lambda y: F.pad(y, (1, 2)), out=15)
    assert explained(net, X) == {"a:1 o:0": 12}
    found = analysed(net, (X,), static=True)
    kept = {frozen.rows for frozen in found.frozen if (frozen.tensor, frozen.axis) == ("o", 0)}
    assert kept == {3}
    cutting = analysed(wide(lambda y: F.pad(y, (-1, 0)), out=11), (X,), static=True)
    assert "cuts it by padding" in frozen(cutting, "a", 1)


@pytest.mark.parametrize(
    ("inside", "out", "why"),
    [
        (lambda y: y.roll(1, 1), 12, "turned around"),
        (lambda y: y.flip(1), 12, "turned around"),
        (lambda y: y[:, torch.tensor([1, 0, 5])], 3, "is indexed"),
        (lambda y: y.index_select(1, torch.tensor([1, 0, 5])), 3, "is indexed"),
        (lambda y: y.gather(1, torch.zeros(4, 3, dtype=torch.long)), 3, "is indexed"),
        (lambda y: F.pad(y, (2, 0), mode="reflect"), 14, "slides over it"),
        (lambda y: y.unfold(1, 3, 3).flatten(1), 12, "slides over it"),
        (lambda y: torch.tril(y), 12, "is not understood"),
    ],
)
def test_what_names_places_freezes(inside: Callable[[Tensor], Tensor], out: int, why: str) -> None:
    found = analysed(wide(inside, out), (X,), static=True)
    assert spans(found) == {}
    assert why in frozen(found, "a", 1)


def test_a_unit_that_is_taken_on_its_own_stays() -> None:
    net = wide(lambda y: y * y.select(1, 3)[:, None] + y[:, 4:5])
    assert explained(net, X) == {"a:1 o:0": 10}
    kept = [one for one in analysed(net, (X,), static=True).frozen if (one.tensor, one.axis) == ("a", 1)]
    assert sum(one.rows for one in kept) == 2
    assert all("takes it on its own" in one.reason for one in kept)


def test_pixels_shuffled_into_channels_go_whole() -> None:
    up = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.ReflectionPad2d(1), nn.Conv2d(3, 2, 3))
    assert explained(up, IMAGE) == {"0.bias:0/4 0.weight:0/4 3.weight:1": 3}
    mean = Net(lambda m, x: m.up(x).mean((2, 3)) @ m.o, up=nn.Sequential(*up[:2]), o=(3, 2))
    assert explained(mean, IMAGE) == {"o:0 up.0.bias:0/4 up.0.weight:0/4": 3}
    down = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PixelUnshuffle(2), nn.Conv2d(16, 2, 1))
    assert explained(down, IMAGE) == {"0.bias:0 0.weight:0 2.weight:1/4": 4}


def test_flattened_channels_take_their_places_along() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(20, 2))
    assert explained(net, IMAGE) == {"0.bias:0 0.weight:0 3.weight:1/4": 5}


def test_a_slice_by_a_length_of_the_input_freezes() -> None:
    net = Net(lambda m, x: (x @ m.a)[:, : x.shape[1]].sum(1), a=(3, 12))
    found = analysed(net, (torch.randn(4, 6, 3),))
    assert spans(found) == {} or "o" not in found.tensors
    lengths = Net(lambda m, x: m.places[: x.shape[1]] @ m.o + x.sum(), places=(9, 4), o=(4, 2))
    found = analysed(lengths, (torch.randn(4, 6, 3),))
    assert spans(found) == {"o:0 places:1": 4}
    assert "depends on the input" in frozen(found, "places", 0)
