"""Products: what is summed over goes on both sides, what is kept passes through; every case is exact."""

from __future__ import annotations

import pytest
import torch
from exactness import Net, analysed, explained, frozen, spans
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_linear_layers_share_their_inner_width() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5, bias=False), nn.Linear(5, 2))
    assert explained(net, X) == {"0.bias:0 0.weight:0 2.weight:1": 8, "2.weight:0 3.weight:1": 5}
    why = analysed(net, (X,), static=True)
    assert frozen(why, "3.weight", 0) == "is the model's output 'output'"
    assert "0 (linear): multiplies a value that has no units" in frozen(why, "0.weight", 1)


def test_a_weight_may_be_a_vector() -> None:
    net = Net(lambda m, x: F.linear(torch.tanh(x @ m.a), m.v), a=(3, 6), v=(6,))
    assert explained(net, X) == {"a:1 v:0": 6}


@pytest.mark.parametrize("bias", [(6,), (1, 6), (4, 6)])
def test_addmm_adds_a_bias_of_any_shape(bias: tuple[int, ...]) -> None:
    net = Net(lambda m, x: torch.addmm(m.b, x, m.w) @ m.out, b=bias, w=(3, 6), out=(6, 2))
    assert explained(net, X) == {f"b:{len(bias) - 1} out:0 w:1": 6}


def test_addmm_ties_the_rows_of_its_bias_to_those_of_its_data() -> None:
    net = Net(lambda m, x: (m.s @ torch.addmm(m.b, m.r, m.w)) @ x.mT, b=(5, 3), r=(5, 4), w=(4, 3), s=(2, 5))
    assert explained(net, X) == {"b:0 r:0 s:1": 5, "r:1 w:0": 4}


def test_matrix_products_of_every_rank() -> None:
    heads = torch.randn(4, 2, 5, 3)
    net = Net(lambda m, x: torch.tanh(x @ m.up) @ m.down, up=(2, 3, 7), down=(7, 2))
    assert explained(net, heads) == {"down:0 up:2": 7}
    dot = Net(lambda m, x: torch.dot(torch.tanh(torch.mv(m.a, x[0])), m.v), a=(5, 3), v=(5,))
    assert explained(dot, X) == {"a:0 v:0": 5}
    batched = Net(lambda m, x: torch.baddbmm(m.b, m.h @ x, m.w).sum(-1) @ m.o, h=(4, 5, 3), b=(5, 6), w=(3, 6), o=(5,))
    batched.function = lambda m, x: torch.baddbmm(m.b, m.h @ x.expand(4, 3, 3), m.w.expand(4, 3, 6)) @ m.o
    batched.o = nn.Parameter(torch.randn(6, 2))
    assert explained(batched, torch.randn(1, 3, 3)) == {"b:1 o:0 w:1": 6}


def test_a_product_of_two_activations_sums_over_units_of_both() -> None:
    net = Net(lambda m, x: (x @ m.q).sigmoid() @ (x @ m.k).sigmoid().mT, q=(3, 6), k=(3, 6))
    assert explained(net, X) == {"k:1 q:1": 6}


def test_einsum_ties_equal_letters() -> None:
    net = Net(lambda m, x: torch.einsum("bi,hij,hjk->bk", x, m.a, m.b), a=(2, 3, 5), b=(2, 5, 4))
    assert explained(net, X) == {"a:0 b:0": 2, "a:2 b:1": 5}
    ellipsis = Net(lambda m, x: torch.einsum("...i,ij->...j", x, m.a) @ m.o, a=(3, 5), o=(5, 2))
    found = analysed(ellipsis, (X,), static=True)
    assert spans(found) == {}
    assert "implied indices" in frozen(found, "a", 1)


@pytest.mark.parametrize(("kind", "rank"), [(nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3)])
def test_convolutions_tie_channels_and_slide_over_the_rest(kind: type[nn.Module], rank: int) -> None:
    net = nn.Sequential(kind(3, 6, 3), nn.Tanh(), kind(6, 2, 1))
    data = torch.randn(2, 3, *[5] * rank)
    assert explained(net, data) == {"0.bias:0 0.weight:0 2.weight:1": 6}
    assert explained(net, data[0]) == {"0.bias:0 0.weight:0 2.weight:1": 6}


def test_groups_go_whole_or_lose_the_same_channel_each() -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Tanh(), nn.Conv2d(12, 12, 3, groups=3), nn.Tanh(), nn.Conv2d(12, 2, 1))
    assert explained(net, IMAGE) == {
        "0.bias:0/4 0.weight:0/4 2.bias:0/4 2.weight:0/4 4.weight:1/4": 3,  # a group, in and out
        "0.bias:0/3 0.weight:0/3 2.weight:1": 4,  # a channel in every group
        "2.bias:0/3 2.weight:0/3 4.weight:1/3": 4,  # and one out
    }


def test_depthwise_channels_pass_through() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 2, 1))
    assert explained(net, IMAGE) == {"0.bias:0 0.weight:0 1.bias:0 1.weight:0 2.weight:1": 6}
    twice = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 2, 1))
    assert explained(twice, IMAGE) == {
        "0.bias:0 0.weight:0 1.bias:0/2 1.weight:0/2 2.weight:1/2": 6,
        "1.bias:0/6 1.weight:0/6 2.weight:1/6": 2,
    }


def test_transposed_convolutions() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 4, 2, 2), nn.Tanh(), nn.Conv2d(4, 2, 1))
    assert explained(net, IMAGE) == {"0.bias:0 0.weight:0 1.weight:0": 6, "1.bias:0 1.weight:1 3.weight:1": 4}
    grouped = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ConvTranspose1d(6, 8, 2, 2, groups=2), nn.Conv1d(8, 2, 1))
    assert explained(grouped, IMAGE[..., 0]) == {
        "0.bias:0/3 0.weight:0/3 1.bias:0/4 1.weight:0/3 2.weight:1/4": 2,
        "0.bias:0/2 0.weight:0/2 1.weight:0/2": 3,
        "1.bias:0/2 1.weight:1 2.weight:1/2": 4,
    }


class Heads(nn.Module):
    """Projections to heads, fused attention, and back; fewer key heads, a bias a head and causality where asked."""

    def __init__(self, heads: int = 2, keys: int = 2, bias: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.keys, self.causal = heads, keys, causal
        self.q, self.k, self.v = (
            nn.Linear(3, heads * 4, False),
            nn.Linear(3, keys * 4, False),
            nn.Linear(3, keys * 5, False),
        )
        self.out = nn.Linear(heads * 5, 2, False)
        self.bias = nn.Parameter(torch.randn(heads, 6, 6)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (n, -1)).transpose(1, 2) for f, n in self._each())
        shared = self.heads != self.keys
        mixed = F.scaled_dot_product_attention(q, k, v, self.bias, is_causal=self.causal, enable_gqa=shared)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _each(self) -> list[tuple[nn.Module, int]]:
        return [(self.q, self.heads), (self.k, self.keys), (self.v, self.keys)]


SEQUENCE = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_has_heads_and_two_inner_widths(causal: bool) -> None:
    torch.manual_seed(0)
    assert explained(Heads(causal=causal), SEQUENCE) == {
        "k.weight:0/4 out.weight:1/5 q.weight:0/4 v.weight:0/5": 2,
        "k.weight:0/2 q.weight:0/2": 4,
        "out.weight:1/2 v.weight:0/2": 5,
    }


def test_a_bias_of_the_scores_goes_with_its_head() -> None:
    torch.manual_seed(0)
    assert "bias:0 k.weight:0/4 out.weight:1/5 q.weight:0/4 v.weight:0/5" in explained(Heads(bias=True), SEQUENCE)


def test_queries_that_share_a_key_go_with_it_or_one_from_each() -> None:
    torch.manual_seed(0)
    assert explained(Heads(heads=6, keys=2), SEQUENCE) == {
        "k.weight:0/4 out.weight:1/15 q.weight:0/12 v.weight:0/5": 2,  # a key and its three queries
        "out.weight:1/10 q.weight:0/8": 3,  # a query of every key
        "k.weight:0/2 q.weight:0/6": 4,
        "out.weight:1/6 v.weight:0/2": 5,
    }


def test_positions_that_attention_weighs_must_stay() -> None:
    def attend(m: Net, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, m.k.expand(2, 5, 3), m.v.expand(2, 5, 4))

    found = analysed(Net(attend, k=(1, 5, 3), v=(1, 5, 4)), (SEQUENCE,), static=True)
    assert spans(found) == {}
    assert "share a sum of one" in frozen(found, "k", 1)


@pytest.mark.parametrize("causal", [False, True])
def test_queries_may_go_unless_each_sees_only_what_came_before(causal: bool) -> None:
    def attend(m: Net, x: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(m.q.expand(2, 4, 3), x, x, is_causal=causal)
        return mixed.mT @ m.o

    found = explained(Net(attend, q=(1, 4, 3), o=(4, 2)), SEQUENCE)
    assert found == ({} if causal else {"o:0 q:1": 4})
