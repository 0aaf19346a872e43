"""Constant arguments follow a cut: sizes, bounds, groups, scales. Every case is cut by a third and compared exactly."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from exactness import Net, analysed, disagreement
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import argument
from compressor.graph.program import Program

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
STEPS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


def thinned(dimensions: Dimensions, seed: int = 0) -> Removal:
    """Without a third of the units of each dimension, at random: what stays is not in one piece."""
    chance = random.Random(seed)
    return Removal(dimensions, [u for d in dimensions.dimensions for u in chance.sample(d.units, len(d.units) // 3)])


def checked(net: nn.Module, *inputs: Tensor, static: bool = True) -> Program:
    """The network without a third of its units, after several such cuts were seen to be exact."""
    dimensions = analysed(net, inputs, static=static)
    assert dimensions.dimensions
    for seed in range(3):
        error, moved = disagreement(thinned(dimensions, seed))
        assert error < 1e-5
        assert moved > 0
    return cut(thinned(dimensions))


def call(program: Program, name: str) -> fx.Node:
    return next(node for node in program.nodes() if op_name(node) == name)


def wide(inside: Callable[[Tensor], Tensor], out: int = 12) -> Net:
    """Elements of a layer of twelve units, moved, then read by a matrix of `out` rows."""
    return Net(lambda m, x: inside((x @ m.a).tanh()) @ m.o, a=(3, 12), o=(out, 2))


aten = torch.ops.aten
MOVES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "view": (lambda y: y.view(4, 3, 4).sum(0).view(1, 12), 12),
    "_unsafe_view": (lambda y: aten._unsafe_view(aten._unsafe_view(y, [4, 3, 4]).mT.contiguous(), [4, 12]), 12),
    "reshape": (lambda y: y.reshape(4, 3, 4).mT.reshape(4, -1), 12),
    "expand": (lambda y: y[:, None].expand(4, 2, 12).reshape(4, 24), 24),
    "unflatten": (lambda y: y.unflatten(-1, (3, 4)).mT.flatten(1), 12),
    "zeros": (lambda y: y + torch.zeros(12), 12),
    "ones": (lambda y: y * torch.ones(4, 12), 12),
    "full": (lambda y: y * torch.full((12,), 2.0), 12),
    "new_zeros": (lambda y: y + y.new_zeros(4, 12), 12),
    "new_ones": (lambda y: y * y.new_ones(12), 12),
    "new_full": (lambda y: y * y.new_full((12,), 2.0), 12),
    "slice": (lambda y: torch.cat([y[:, 3:9], y[:, :5], y[:, -5:]], 1), 16),
    "narrow": (lambda y: torch.cat([y.narrow(1, 3, 6), y.narrow(1, -5, 5)], 1), 11),
    "select": (lambda y: y * y.select(1, 7)[:, None], 12),
    "split": (lambda y: torch.cat(y.split(6, 1)[::-1], 1), 12),
    "split_with_sizes": (lambda y: torch.cat(y.split([5, 7], 1)[::-1], 1), 12),
    "chunk": (lambda y: torch.cat(y.chunk(2, -1)[::-1], 1), 12),
    "tensor_split": (lambda y: torch.cat(y.tensor_split((5,), 1)[::-1], 1), 12),
    "repeat_interleave": (lambda y: y.repeat_interleave(2, 1, output_size=24), 24),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_sizes_and_bounds_become_what_is_left(name: str) -> None:
    inside, out = MOVES[name]
    smaller = checked(wide(inside, out), X)
    if name not in ("split", "chunk", "tensor_split", "narrow"):  # they become split_with_sizes and slice
        assert call(smaller, name)


def test_parts_of_equal_size_may_become_unequal() -> None:
    found = analysed(wide(lambda y: torch.cat(y.chunk(2, 1)[::-1], 1)), (X,), static=True)
    units = found.dimensions[0].units
    smaller = cut(Removal(found, units[:4]))
    assert argument(call(smaller, "split_with_sizes"), "split_sizes") == [2, 6]


def test_bounds_of_a_slice() -> None:
    found = analysed(wide(lambda y: y[:, 3:9], 6), (X,), static=True)
    rows = [found.slices[unit][0].rows.tolist() for unit in found.dimensions[0].units]
    gone = [unit for d in found.dimensions for unit in d.units if found.slices[unit][0].rows[0] in (0, 2, 5, 11)]
    assert len(rows) == 6
    smaller = cut(Removal(found, gone))
    node = call(smaller, "slice")
    assert (argument(node, "start"), argument(node, "end")) == (1, 6)
    assert smaller.get("o").shape == (5, 2)


def test_a_slice_with_a_step_becomes_a_choice_of_rows() -> None:
    smaller = checked(wide(lambda y: torch.cat([y[:, ::2], y[:, 1::3]], 1), 10), X)
    assert "index_select" in {op_name(node) for node in smaller.nodes()}
    assert not any(op_name(node) == "slice" for node in smaller.nodes())


def test_an_axis_that_is_now_one_long_is_not_squeezed_away() -> None:
    net = wide(lambda y: y[:, None].squeeze())
    found = analysed(net, (X,), static=True)
    smaller = cut(Removal(found, found.dimensions[0].units[1:]))
    assert smaller.run([X])["output"].shape == (4, 2)
    assert argument(call(smaller, "squeeze"), "dim") == [1]


@pytest.mark.parametrize("layer", [nn.LayerNorm(12), nn.RMSNorm(12), nn.LayerNorm((2, 12))])
def test_normalized_shapes(layer: nn.Module) -> None:
    net = Net(lambda m, x: m.n((x @ m.a).view(2, 2, 12)) @ m.o, n=layer, a=(3, 12), o=(12, 2))
    smaller = checked(net, X)
    name = "rms_norm" if isinstance(layer, nn.RMSNorm) else "layer_norm"
    assert argument(call(smaller, name), "normalized_shape")[-1] == 8


CONVS: dict[str, tuple[nn.Module, Tensor]] = {
    "grouped": (nn.Conv2d(12, 24, 3, groups=4), IMAGE),
    "depthwise": (nn.Conv2d(12, 12, 3, groups=12), IMAGE),
    "depthwise with a multiplier": (nn.Conv2d(12, 24, 3, groups=12), IMAGE),
    "grouped 1d": (nn.Conv1d(12, 12, 3, groups=3), IMAGE[..., 0]),
    "grouped 3d": (nn.Conv3d(12, 12, 1, groups=3), IMAGE[..., None]),
    "transposed": (nn.ConvTranspose2d(12, 12, 2), IMAGE),
    "transposed grouped": (nn.ConvTranspose2d(12, 24, 2, stride=2, groups=4), IMAGE),
    "transposed depthwise 1d": (nn.ConvTranspose1d(12, 12, 2, groups=12), IMAGE[..., 0]),
    "group norm": (nn.GroupNorm(4, 12), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVS)
def test_numbers_of_groups(name: str) -> None:
    layer, data = CONVS[name]
    kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[data.dim()]
    out = layer.out_channels if hasattr(layer, "out_channels") else 12
    net = Net(lambda m, x: m.b(m.l(m.a(x)).tanh()), a=kind(3, 12, 1), l=layer, b=kind(out, 2, 1))  # type: ignore[arg-type]
    checked(net, data)


def test_a_general_convolution() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = aten.convolution(x, m.a, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1).tanh()
        y = aten.convolution(y, m.g, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 3).tanh()
        y = aten.convolution(y, m.t, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 3).tanh()
        return aten.convolution(y, m.b, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)

    net = Net(forward, a=(12, 3, 1, 1), g=(12, 4, 3, 3), t=(12, 2, 2, 2), b=(2, 6, 1, 1))
    smaller = checked(net, IMAGE)
    assert {argument(node, "groups") for node in smaller.nodes() if op_name(node) == "convolution"} == {1, 2}


@pytest.mark.parametrize("scale", [None, 0.3])
def test_the_scale_of_an_attention_is_that_of_its_full_width(scale: float | None) -> None:
    def attend(m: Net, x: Tensor) -> Tensor:
        q, k, v = ((x @ w).view(2, 5, 3, 4).transpose(1, 2) for w in (m.q, m.k, m.v))
        return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).reshape(2, 5, 12) @ m.o

    net = Net(attend, q=(3, 12), k=(3, 12), v=(3, 12), o=(12, 2))
    smaller = checked(net, STEPS)
    assert argument(call(smaller, "scaled_dot_product_attention"), "scale") == (scale or 0.5)


def test_sizes_that_are_computed_from_the_batch() -> None:
    def attend(m: Net, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads = (x @ m.a).view(batch, length, 3, 4).transpose(1, 2).reshape(batch * 3, length, 4)
        mixed = torch.bmm(heads, heads.mT) @ heads
        return mixed.view(batch, 3, length, 4).transpose(1, 2).reshape(batch, length, 12) @ m.o

    net = Net(attend, a=(3, 12), o=(12, 2))
    smaller = checked(net, STEPS, static=False)
    assert smaller.inputs[0].shape[0] == "batch"
    assert isinstance(smaller.inputs[0].shape[1], str)
    for batch, length in ((3, 5), (2, 7), (5, 2)):
        assert smaller.run([torch.randn(batch, length, 3)])[smaller.outputs[0].name].shape == (batch, length, 2)


def test_sizes_that_are_computed_from_batch_and_length() -> None:
    def mixes(m: Net, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        rows = (x @ m.a).view(batch * length * 3, 4) @ m.w  # each head of each step by itself
        return rows.tanh().view(batch, length, 12) @ m.o

    net = Net(mixes, a=(3, 12), w=(4, 4), o=(12, 2))
    dimensions = analysed(net, (STEPS,))
    heads = next(d for d in dimensions.dimensions if len(d.units) == 3)
    removal = Removal(dimensions, heads.units[:1])
    assert disagreement(removal)[0] < 1e-5
    smaller = cut(removal)
    other = torch.randn(3, 7, 3)
    kept = analysed(net, (other,), static=True)
    same = next(d for d in kept.dimensions if len(d.units) == 3)
    expected = cut(Removal(kept, same.units[:1])).run([other])
    torch.testing.assert_close(smaller.run([other]), expected)
