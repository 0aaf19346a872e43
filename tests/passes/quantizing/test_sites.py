"""Sites: layers by weight, glue by its operands, transparent operators, tails, and names that survive saving."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture, from_exported
from compressor.graph.edit import begin
from compressor.graph.functional import functionalize
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import find_glue, find_layers, is_transparent, node_names, rank, tail


class Every(nn.Module):
    """One layer of each kind, and what lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose1d(8, 6, 3, padding=1)
        self.linear = nn.Linear(6, 8)
        self.table = nn.Parameter(torch.randn(8, 8))
        self.norm = nn.LayerNorm(8)
        self.rnn = nn.LSTM(8, 16, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids).transpose(1, 2)
        h = functional.relu6(self.conv(h)) + h
        h = self.linear(functional.leaky_relu(self.up(h)).transpose(1, 2)).clamp(-1, 2)
        h = self.norm(h @ self.table)
        h = torch.cat([h, torch.sigmoid(h)], -1)
        return self.rnn(h[..., :8])[0] @ (h.transpose(1, 2) @ h)[:, :16]


def prepared(model: nn.Module, *inputs: Tensor) -> Program:
    program = begin(capture(model, inputs).program)
    functionalize(program)
    return program


IDS = torch.randint(0, 50, (2, 5), generator=torch.Generator().manual_seed(0))


def test_layers_of_every_kind() -> None:
    program = prepared(Every(), IDS)
    layers, skips = find_layers(program)
    assert [(layer.name, layer.kind, layer.axis, layer.stem) for layer in layers] == [
        ("embed", "embedding", 0, "embed."),
        ("conv", "conv", 0, "conv."),
        ("up", "conv_transpose", 1, "up."),
        ("linear", "linear", 0, "linear."),
        ("table", "matmul", 1, "table_matmul_"),
    ]
    assert {(skip.site, skip.reason) for skip in skips} == {("rnn.weight_hh_l0", "lstm has no integer form")}
    for layer in layers:
        weight = program.get(layer.weight)
        assert weight.shape[layer.axis] == (50 if layer.kind == "embedding" else layer.nodes[0].meta["val"].shape[
            -1 if layer.kind in ("linear", "matmul") else 1
        ])  # fmt: skip
        assert (layer.bias(layer.nodes[0]) is not None) == (layer.kind in ("conv", "conv_transpose", "linear"))


def test_keep_names_layers_parameters_and_glue() -> None:
    program = prepared(Every(), IDS)
    layers, skips = find_layers(program, ("conv", "linear.weight", "tab*"))
    assert [layer.name for layer in layers] == ["embed", "up"]
    assert {skip.site for skip in skips if "kept" in skip.reason} == {"conv", "linear", "table"}
    assert set(find_glue(program)) == {"add", "leaky_relu", "cat", "sigmoid"}
    assert set(find_glue(program, ("s*", "cat"))) == {"add", "leaky_relu"}


def test_tails_are_what_integer_kernels_clip_to() -> None:
    program = prepared(Every(), IDS)
    layers = {layer.name: layer for layer in find_layers(program)[0]}
    bounds = {name: (tail(layer.nodes[0]).low, tail(layer.nodes[0]).high) for name, layer in layers.items()}
    infinity = float("inf")
    assert bounds["conv"] == (0.0, 6.0)
    assert bounds["linear"] == (-1.0, 2.0)
    assert bounds["up"] == (-infinity, infinity)
    assert tail(layers["up"].nodes[0]).node is layers["up"].nodes[0]


def test_a_value_that_others_read_before_the_relu_has_no_tail() -> None:
    class Peek(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x)
            return functional.relu(y) + y

    layer = find_layers(prepared(Peek(), torch.randn(2, 4)))[0][0]
    assert tail(layer.nodes[0]).node is layer.nodes[0]


def test_one_site_for_every_call_of_a_layer_and_one_a_kind_for_a_tied_parameter() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)
            self.table = nn.Parameter(torch.randn(50, 6))

        def forward(self, ids: Tensor) -> Tensor:
            h = functional.embedding(ids, self.table)
            return functional.linear(self.linear(torch.tanh(self.linear(h))), self.table)

    layers, _ = find_layers(prepared(Shared(), IDS))
    assert [(layer.name, len(layer.nodes)) for layer in layers] == [
        ("table_embedding", 1), ("linear", 2), ("table_linear", 1),
    ]  # fmt: skip


def test_computed_and_foreign_weights_are_declined_with_the_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(6, 1))
            self.weight = nn.Parameter(torch.randn(6, 6))
            self.precise = nn.Linear(6, 6).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.precise(functional.linear(x, self.weight * self.scale).double())

    layers, skips = find_layers(prepared(Odd(), torch.randn(2, 6)))
    assert layers == []
    assert {skip.reason for skip in skips} == {
        "the weight of its linear is computed, not a stored float",
        "its weight is float64, not float32",
    }


def test_names_survive_saving() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + x * x) + torch.sigmoid(x)

    program = prepared(nn.Sequential(Block(), Block()), torch.randn(2, 6))
    names = list(node_names(program).values())
    assert names == ["0.mul", "0.add", "0.sigmoid", "0.add_2", "1.mul", "1.add", "1.sigmoid", "1.add_2"]
    assert list(node_names(from_exported(program.export())).values()) == names


def test_transparent_operators_and_ranks() -> None:
    program = prepared(Every(), IDS)
    transparent = {str(node.target) for node in program.nodes() if is_transparent(node)}
    assert transparent == {"aten.transpose.int", "aten.slice.Tensor"}
    assert {rank(node) for node in program.nodes() if str(node.target) == "aten.linear.default"} == {3}
