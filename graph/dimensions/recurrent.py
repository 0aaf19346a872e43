"""LSTM, GRU and plain recurrent layers: a gate is a slice of `hidden` rows, so a hidden unit is a row in every gate."""

from __future__ import annotations

import numpy as np
from torch import fx

from compressor.graph.concrete import op_name
from compressor.graph.dimensions.labels import Vector
from compressor.graph.dimensions.walk import Axes, Walk
from compressor.graph.edit import argument

__all__ = ["recurrent"]

MEETS = "meets a value that has no units"


def recurrent(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """aten.lstm/gru/rnn(input, hidden state or states, parameters, biases, layers, dropout, train, both, batch_first).

    Parameters of a direction: input weights (gates·hidden × in), hidden weights (gates·hidden × hidden), two biases.
    """
    if op_name(node).endswith("_cell"):
        return _cell(walk, node)
    if len(node.args) < 9 or not isinstance(node.args[3], bool):
        walk.freeze_all(node, "is recurrent over packed sequences, which is not looked into")
        return walk.unlabelled(node)
    data, states, stored = walk.of(node.args[0]), _list(node.args[1]), _list(node.args[2])
    directions, layers = (2 if node.args[7] else 1), int(argument(node, "num_layers"))
    each = len(stored) // (directions * layers)
    hidden = walk.shape(states[0])[-1]
    if each not in (2, 4) or walk.shape(stored[1])[-1] != hidden:
        walk.freeze_all(node, "projects its hidden state, which is not looked into")
        return walk.unlabelled(node)
    below, inside = data[-1], None
    for layer in range(layers):
        out: list[Vector | None] = []
        for direction in range(directions):
            first = (layer * directions + direction) * each
            parameters = [walk.of(p) for p in stored[first : first + each]]
            walk.unite(node, below, parameters[0][1], MEETS)
            out.append(_hidden(walk, node, parameters, walk.shape(stored[first])[0] // hidden))
        both = [np.zeros(hidden, np.int64) if v is None else v for v in out]
        below = np.concatenate(both) if any(v is not None for v in out) else None
        for vector in out:  # a state holds every layer and direction, so all share their units
            inside = vector if inside is None else walk.unite(node, inside, vector, MEETS)
    for state in states:
        walk.unite(node, walk.of(state)[-1], inside, "starts from a state that has no units")
    return [(*data[:-1], below), *[(*walk.of(state)[:-1], inside) for state in states]]


def _cell(walk: Walk, node: fx.Node) -> Axes | list[Axes]:
    """One step: aten.lstm_cell/gru_cell/rnn_cell(input, state or states, input weights, hidden weights, biases)."""
    data, states = walk.of(node.args[0]), _list(node.args[1])
    stored = [source for source in node.args[2:] if isinstance(source, fx.Node)]
    parameters = [walk.of(source) for source in stored]
    walk.unite(node, data[-1], parameters[0][1], MEETS)
    inside = _hidden(walk, node, parameters, walk.shape(stored[0])[0] // walk.shape(stored[1])[1])
    for state in states:
        inside = walk.unite(node, walk.of(state)[-1], inside, "starts from a state that has no units")
    after = (*data[:-1], inside)
    return [after for _ in states] if isinstance(walk.values[node], (list, tuple)) else after


def _hidden(walk: Walk, node: fx.Node, parameters: list[Axes], gates: int) -> Vector | None:
    """The hidden units of one direction: columns of its hidden weights, and a row in each gate."""
    columns = parameters[1][1]
    if columns is None:
        return None
    rows = np.tile(columns, gates)
    for axes in parameters:
        walk.unite(node, axes[0], rows, "has rows that are not whole gates")
    return columns


def _list(argument: object) -> list[object]:
    return list(argument) if isinstance(argument, (list, tuple)) else [argument]
