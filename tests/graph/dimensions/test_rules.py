"""Every operator has a rule; what has none freezes what it touches, with a reason."""

from __future__ import annotations

import pytest
import torch
from exactness import Net, analysed, frozen, spans
from programs import conv, text
from torch import Tensor, nn

from compressor.graph.concrete import op_name
from compressor.graph.dimensions import contractions, elementwise, layout
from compressor.graph.dimensions.recurrent import recurrent
from compressor.graph.dimensions.rules import rule_for
from compressor.graph.program import Program

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def rules(program: Program) -> dict[str, object]:
    return {op_name(node): rule_for(node) for node in program.nodes()}


def test_kinds_names_and_moves_have_their_rules() -> None:
    found = rules(conv())
    assert found["conv2d"] is contractions.conv
    assert found["batch_norm"] is elementwise.batch_norm
    assert found["relu"] is elementwise.pointwise  # an in-place call is told by its name without the dash
    assert found["mean"] is elementwise.reduce
    assert found["linear"] is contractions.linear
    found = rules(text())
    assert found["embedding"] is elementwise.embedding
    assert found["layer_norm"] is elementwise.layer_norm
    assert found["scaled_dot_product_attention"] is contractions.attention
    assert found["argmax"] is elementwise.reduce
    assert {found[name] for name in ("unsqueeze", "view", "permute", "transpose") if name in found} == {
        layout.rearrange
    }


def test_recurrent_layers_have_one_rule() -> None:
    program = analysed(nn.LSTM(3, 4), (X[None],), static=True).program
    assert rules(program)["lstm"] is recurrent


@pytest.mark.parametrize(
    "unknown",
    [
        lambda y: torch.cdist(y, y) @ y,
        lambda y: torch.linalg.qr(y.mT @ y)[0][:4] + y,
        lambda y: torch.triu(y),
    ],
)
def test_what_is_not_understood_freezes_and_says_so(unknown: object) -> None:
    net = Net(lambda m, x: unknown((x @ m.a).tanh()) @ m.b @ m.o, a=(3, 6), b=(6, 5), o=(5, 2))  # type: ignore[operator]
    found = analysed(net, (X,), static=True)
    assert list(spans(found)) == ["b:1 o:0"]  # the rest of the network is still free
    assert "is not understood" in frozen(found, "a", 1)


def test_sizes_and_checks_have_no_units() -> None:
    net = Net(lambda m, x: (x @ m.a).view(x.shape[0], -1) @ m.o, a=(3, 6), o=(6, 2))
    assert spans(analysed(net, (X,))) == {"a:1 o:0": 6}


def test_noise_and_counters_are_values_without_units() -> None:
    def positions(m: Net, x: Tensor) -> Tensor:
        return (m.table(torch.arange(4)) + x @ m.a) @ m.o

    net = Net(positions, table=nn.Embedding(4, 6), a=(3, 6), o=(6, 2))
    assert spans(analysed(net, (X,), static=True)) == {"a:1 o:0 table.weight:1": 6}
