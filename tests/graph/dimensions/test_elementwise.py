"""Calls that keep axes in place: operands agree, norms and means run over what is left; every case is exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exactness import Net, analysed, explained, frozen, spans
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
WIDE = {"a": (3, 6), "o": (6, 2)}  # x → x·a, six units wide → x·o


def wide(inside: Callable[[Net, Tensor], Tensor], **parts: tuple[int, ...] | nn.Module) -> Net:
    """Something done to a layer of six units."""
    return Net(lambda m, x: inside(m, x @ m.a) @ m.o, **WIDE, **parts)


def between(*layers: nn.Module, out: int = 6) -> Net:
    """Layers between two convolutions of six channels."""
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *layers, nn.Conv2d(out, 2, 1))
    return Net(lambda m, x: m.body(x), body=body)


@pytest.mark.parametrize(
    "inside",
    [
        lambda m, y: y + m.s,
        lambda m, y: (y * m.s).relu() + 1,
        lambda m, y: torch.where(y > 0, y, m.s),
        lambda m, y: y.masked_fill(y > m.s + 1, 0.5),
        lambda m, y: torch.maximum(m.s, y) / (m.s.abs() + 1),
        lambda m, y: y * m.s.expand_as(y),
        lambda m, y: torch.multiply(torch.subtract(y, m.s), 2.0),
        lambda m, y: y.clone().add_(m.s),
    ],
)
def test_operands_agree(inside: Callable[[Net, Tensor], Tensor]) -> None:
    assert explained(wide(inside, s=(6,)), X) == {"a:1 o:0 s:0": 6}


def test_operands_agree_where_they_broadcast() -> None:
    assert explained(wide(lambda m, y: y + m.s, s=(1, 6)), X) == {"a:1 o:0 s:1": 6}
    assert explained(wide(lambda m, y: y * m.s, s=(4, 1)), X) == {"a:1 o:0": 6}
    assert explained(wide(lambda m, y: y * m.s, s=()), X) == {"a:1 o:0": 6}


def test_meeting_a_value_without_units_freezes() -> None:
    found = analysed(Net(lambda m, x, y: (x @ m.a + y) @ m.o, **WIDE), (X, torch.randn(4, 6)), static=True)
    assert spans(found) == {}
    assert "meets a value that has no units" in frozen(found, "a", 1)


def test_residual_sums_tie_all_that_is_added() -> None:
    net = Net(lambda m, x: (m.first(x) + m.second(m.first(x)).relu()) @ m.o, o=(6, 2),
              first=nn.Linear(3, 6), second=nn.Linear(6, 6))  # fmt: skip
    assert explained(net, X) == {"first.bias:0 first.weight:0 o:0 second.bias:0 second.weight:0 second.weight:1": 6}


@pytest.mark.parametrize(
    "inside",
    [
        lambda m, y: y / y.norm(dim=-1, keepdim=True),
        lambda m, y: y - y.mean(-1, keepdim=True),
        lambda m, y: y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * m.s,  # as LLaMA writes it
        lambda m, y: (y - y.amax(-1, keepdim=True)) / y.std(-1, keepdim=True),
        lambda m, y: y / y.sum(dim=(0, 1)),
        lambda m, y: y / y.abs().sum(),
        lambda m, y: F.normalize(y, dim=1),
    ],
)
def test_reductions_run_over_the_units_that_are_left(inside: Callable[[Net, Tensor], Tensor]) -> None:
    found = explained(wide(inside, s=(6,)), X)
    assert list(found.values()) == [6]
    assert set(found) <= {"a:1 o:0", "a:1 o:0 s:0"}


def test_a_reduced_axis_is_gone_and_the_others_stay() -> None:
    net = Net(lambda m, x: x.mean((2, 3)) @ m.a @ m.o, **WIDE)
    assert explained(net, IMAGE) == {"a:1 o:0": 6}
    both = Net(
        lambda m, x: torch.stack(torch.var_mean(m.c(x), dim=(2, 3)), -1).sum(-1) @ m.o, c=nn.Conv2d(3, 6, 3), o=(6, 2)
    )
    assert explained(both, IMAGE) == {"c.bias:0 c.weight:0 o:0": 6}


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (lambda m, y: y.softmax(-1), "share a sum of one"),
        (lambda m, y: y.log_softmax(1), "share a sum of one"),
        (lambda m, y: y.cumsum(1), "depends on the order"),
        (lambda m, y: y * y.argmax(1, keepdim=True), "depends on the order"),
        (lambda m, y: torch.sort(y, 1).values, "is not understood"),
    ],
)
def test_what_depends_on_order_or_on_a_sum_freezes(inside: Callable[[Net, Tensor], Tensor], why: str) -> None:
    found = analysed(wide(inside), (X,), static=True)
    assert spans(found) == {}
    assert why in frozen(found, "a", 1)


POOLS = [
    nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2),
    nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear"),
]  # fmt: skip


@pytest.mark.parametrize("layer", POOLS, ids=lambda layer: type(layer).__name__)
def test_pools_and_resizes_work_channel_by_channel(layer: nn.Module) -> None:
    assert explained(between(layer), IMAGE) == {"body.0.bias:0 body.0.weight:0 body.2.weight:1": 6}


@pytest.mark.parametrize(
    ("layer", "stored"),
    [
        (nn.BatchNorm2d(6), "body.1.bias:0 body.1.running_mean:0 body.1.running_var:0 body.1.weight:0 "),
        (nn.BatchNorm2d(6, affine=False), "body.1.running_mean:0 body.1.running_var:0 "),
        (nn.InstanceNorm2d(6, affine=True), "body.1.bias:0 body.1.weight:0 "),
        (nn.GroupNorm(1, 6), "body.1.bias:0 body.1.weight:0 "),
        (nn.GroupNorm(6, 6), "body.1.bias:0 body.1.weight:0 "),
        (nn.PReLU(6), "body.1.weight:0 "),
        (nn.PReLU(), ""),
        (nn.Dropout2d(), ""),
    ],
)
def test_norms_and_slopes_have_one_parameter_a_channel(layer: nn.Module, stored: str) -> None:
    found = explained(between(layer), IMAGE)
    assert found == {f"body.0.bias:0 body.0.weight:0 {stored}body.2.weight:1": 6}


def test_group_norm_keeps_groups_of_equal_width() -> None:
    every = "body.0.bias:0/{0} body.0.weight:0/{0} body.1.bias:0/{0} body.1.weight:0/{0} body.2.weight:1/{0}"
    assert explained(between(nn.GroupNorm(3, 6)), IMAGE) == {every.format(2): 3, every.format(3): 2}


def test_four_groups_of_four_are_two_dimensions() -> None:
    body = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16), nn.Conv2d(16, 2, 1))
    assert list(explained(body, IMAGE).values()) == [4, 4]


@pytest.mark.parametrize("layer", [nn.LayerNorm(6), nn.RMSNorm(6), nn.LayerNorm(6, elementwise_affine=False)])
def test_layer_norms_run_over_the_units_that_are_left(layer: nn.Module) -> None:
    stored = "".join(f"n.{name}:0 " for name, _ in sorted(layer.named_parameters()))
    assert explained(wide(lambda m, y: m.n(y), n=layer), X) == {f"a:1 {stored}o:0": 6}


def test_an_embedding_loses_columns_never_rows() -> None:
    net = Net(lambda m, x: m.table(x).tanh() @ m.o, table=nn.Embedding(9, 6), o=(6, 2))
    assert explained(net, torch.tensor([[1, 2], [3, 4]])) == {"o:0 table.weight:1": 6}
    found = analysed(net, (torch.tensor([[1, 2], [3, 4]]),), static=True)
    assert "rows are chosen by the input" in frozen(found, "table.weight", 0)


def test_gated_halves_lose_the_same_unit() -> None:
    net = Net(lambda m, x: F.glu(x @ m.a, -1) @ m.o, a=(3, 12), o=(6, 2))
    assert explained(net, X) == {"a:1/2 o:0": 6}


def test_weight_norm_scales_rows() -> None:
    net = Net(lambda m, x: m.l(x).tanh() @ m.o, o=(6, 2), l=nn.utils.parametrizations.weight_norm(nn.Linear(3, 6)))
    weight = "l.parametrizations.weight.original"
    assert explained(net, X) == {f"l.bias:0 {weight}0:0 {weight}1:0 o:0": 6}
