"""Recurrent layers: a hidden unit is a row in every gate, a column of the hidden weights, a column of what reads it."""

from __future__ import annotations

import pytest
import torch
from exactness import Net, analysed, explained, frozen, spans
from torch import Tensor, nn

STEPS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


def last(rnn: nn.Module, width: int) -> Net:
    """The outputs of a recurrent layer, summed over time and read by a matrix."""
    return Net(lambda m, x: m.rnn(x)[0].sum(1) @ m.o, rnn=rnn, o=(width, 2))


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_hidden_unit_is_a_row_of_every_gate(kind: type[nn.RNNBase], gates: int) -> None:
    found = explained(last(kind(3, 6, batch_first=True), 6), STEPS)
    each = f"/{gates}" if gates > 1 else ""
    rows = [f"rnn.{name}_l0:0{each}" for name in ("bias_hh", "bias_ih", "weight_hh", "weight_ih")]
    assert found == {" ".join(sorted(["o:0", *rows, "rnn.weight_hh_l0:1"])): 6}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_layers_and_directions_of_one_call_share_their_width(kind: type[nn.RNNBase]) -> None:
    rnn = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True, bias=False)
    ((together, units),) = explained(last(rnn, 8), STEPS).items()
    assert units == 4
    assert "o:0/2" in together
    assert "rnn.weight_ih_l1:1/2" in together  # the layer above reads both directions
    assert together.count("weight_hh") == 8


def test_what_feeds_it_is_pruned_apart() -> None:
    net = Net(
        lambda m, x: m.rnn(m.i(x).tanh())[0] @ m.o, i=nn.Linear(3, 5), rnn=nn.LSTM(5, 6, batch_first=True), o=(6, 2)
    )
    found = explained(net, STEPS)
    assert found.pop("i.bias:0 i.weight:0 rnn.weight_ih_l0:1") == 5
    assert list(found.values()) == [6]


def test_a_state_from_an_encoder_ties_both() -> None:
    def translate(m: Net, x: Tensor) -> Tensor:
        return m.decoder(x, m.encoder(x)[1])[0] @ m.o

    net = Net(translate, encoder=nn.GRU(3, 4, batch_first=True), decoder=nn.GRU(3, 4, batch_first=True), o=(4, 2))
    ((together, units),) = explained(net, STEPS).items()
    assert units == 4
    assert "encoder.weight_hh_l0:1" in together
    assert "decoder.weight_hh_l0:1" in together


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_one_step_cells(kind: type[nn.RNNCellBase]) -> None:
    def twice(m: Net, x: Tensor) -> Tensor:
        state = m.cell(x[:, 1], m.cell(x[:, 0]))
        return (state[0] if isinstance(state, tuple) else state) @ m.o

    ((together, units),) = explained(Net(twice, cell=kind(3, 6), o=(6, 2)), STEPS).items()
    assert units == 6
    assert "cell.weight_hh:1" in together
    assert "o:0" in together


def test_a_state_that_is_given_or_returned_freezes() -> None:
    given = Net(lambda m, x, h: m.rnn(x, h)[0].sum(1) @ m.o, rnn=nn.GRU(3, 6, batch_first=True), o=(6, 2))
    found = analysed(given, (STEPS, torch.randn(1, 2, 6)), static=True)
    assert spans(found) == {}
    assert "starts from a state that has no units" in frozen(found, "rnn.weight_hh_l0", 1)
    returned = analysed(nn.GRU(3, 6, batch_first=True), (STEPS,), static=True)
    assert spans(returned) == {}
    assert "model's output" in frozen(returned, "weight_hh_l0", 1)


def test_a_projected_state_is_not_looked_into() -> None:
    found = analysed(last(nn.LSTM(3, 6, proj_size=4, batch_first=True), 4), (STEPS,), static=True)
    assert spans(found) == {}
    assert "projects its hidden state" in frozen(found, "rnn.weight_hh_l0", 0)
