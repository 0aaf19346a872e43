"""Blocks are found in graphs of many kinds, by what they compute; a block's parts can be put together again."""

from __future__ import annotations

import pytest
import torch
from blocks import Attention, Layer, Stack, captured, found, minilm, mixed, transformer
from classics import MobileNetV2, ResNet50
from decoders import llama, program_of
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.blocks import find_blocks


@pytest.mark.parametrize("form", ["pre", "post", "parallel"])
def test_a_transformer_s_layers_are_its_blocks(form: str) -> None:
    [chain] = find_blocks(transformer(3, form))
    assert [block.name for block in chain.blocks] == ["layers.0", "layers.1", "layers.2"]
    assert chain.residual
    assert all(mixed(block) == ["mixer", "mlp"] for block in chain.blocks)


def test_parameters_correspond_and_belong_to_their_block() -> None:
    program = transformer(3)
    [chain] = find_blocks(program)
    first, *others = chain.blocks
    assert len(first.parameters) == 12
    for block in others:
        assert [name.split(".", 2)[2] for name in block.parameters] == [n.split(".", 2)[2] for n in first.parameters]
        assert all(name.startswith(f"{block.name}.") for name in block.parameters)
    attention, mlp = first.branches
    assert {*attention.parameters} | {*mlp.parameters} == {*first.parameters}
    assert {str(n.target) for n in first.nodes if n.op == "get_attr"} == {*first.parameters}


def test_a_block_begins_where_the_one_before_ends_and_is_in_graph_order() -> None:
    program = transformer(4, "post")
    [chain] = find_blocks(program)
    places = {node: place for place, node in enumerate(program.graph.nodes)}
    for one, other in zip(chain.blocks, chain.blocks[1:], strict=False):
        assert one.exit is other.entry
        assert {*one.nodes}.isdisjoint(other.nodes)
        assert [places[node] for node in one.nodes] == sorted(places[node] for node in one.nodes)
        assert "layer_norm" in str(one.exit.target)
    assert "layer_norm" in str(chain.blocks[-1].exit.target)  # though only the final norm reads it


def test_the_norm_behind_the_last_block_is_no_part_of_it() -> None:
    [chain] = find_blocks(transformer(2))
    assert all("add" in str(block.exit.target) for block in chain.blocks)


def test_a_block_with_another_shape_ends_the_chain() -> None:
    net = Stack([Layer(8), Layer(8), Layer(8, times=3), Layer(8)], 8)
    assert found(captured(net, torch.randn(2, 6, 5))) == [["layers.0", "layers.1"], ["layers.2"], ["layers.3"]]


def test_masks_that_only_some_blocks_have_make_no_difference() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer(8) for _ in range(4))
            self.register_buffer("mask", torch.randn(6, 6))

        def forward(self, x: Tensor, more: Tensor) -> Tensor:
            for number, layer in enumerate(self.layers):
                x = layer(x, (self.mask if number % 3 else more[:, None]) if number % 2 else None)
            return x

    names = found(captured(Net(), torch.randn(2, 6, 8), torch.randn(2, 6, 6)))
    assert names == [["layers.0", "layers.1", "layers.2", "layers.3"]]


def test_convolutional_blocks_end_behind_their_activation_and_at_projections() -> None:
    chains = find_blocks(captured(ResNet50(), torch.randn(1, 3, 64, 64)))
    assert [[b.name for b in c.blocks] for c in chains] == [
        ["blocks.1", "blocks.2"], ["blocks.4", "blocks.5", "blocks.6"],
        [f"blocks.{n}" for n in range(8, 13)], ["blocks.14", "blocks.15"],
    ]  # fmt: skip
    assert all(mixed(block) == ["mixer"] and "relu" in str(block.exit.target) for c in chains for block in c.blocks)


def test_inverted_residuals() -> None:
    chains = find_blocks(captured(MobileNetV2(), torch.randn(1, 3, 64, 64)))
    assert [len(chain.blocks) for chain in chains] == [1, 2, 3, 2, 2]
    assert chains[2].blocks[0].name == "features.10.conv"


def test_the_real_minilm() -> None:
    [chain] = find_blocks(minilm())
    assert [block.name for block in chain.blocks] == [f"encoder.layer.{n}" for n in range(6)]
    assert all(mixed(block) == ["mixer", "mlp"] and len(block.parameters) == 16 for block in chain.blocks)


def test_a_decoder_with_its_cache() -> None:
    program = program_of(llama(layers=3))
    [chain] = find_blocks(program)
    assert [block.name for block in chain.blocks] == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert all(mixed(block) == ["mixer", "mlp"] and len(block.parameters) == 9 for block in chain.blocks)


def test_cross_attention_is_a_mixer_and_the_encoder_no_part_of_it() -> None:
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.q, self.out = Layer(8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.start = nn.Parameter(torch.randn(1, 3, 8))

        def forward(self, x: Tensor) -> Tensor:
            states, y = self.encoder(x), self.start.expand(x.shape[0], -1, -1)
            return y + self.out(functional.scaled_dot_product_attention(self.q(y), states, states))

    first, second = find_blocks(captured(Cross(), torch.randn(2, 6, 8)))
    assert mixed(second.blocks[0]) == ["mixer"]
    assert {*first.blocks[0].nodes}.isdisjoint(second.blocks[0].nodes)


def test_token_mixing_linears_are_told_from_channel_mixing_ones() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.across, self.within = nn.Linear(6, 6), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.across(x.mT).mT
            return x + self.within(x)

    [chain] = find_blocks(captured(nn.Sequential(Mixing(), Mixing()), torch.randn(2, 6, 8)))
    assert [mixed(block) for block in chain.blocks] == [["mixer", "mlp"]] * 2


def test_equal_layers_without_a_residual_stream() -> None:
    convolutions = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *convolutions, nn.Flatten(), nn.Linear(144, 5))
    [chain] = find_blocks(captured(net, torch.randn(2, 3, 8, 8)))
    assert not chain.residual
    assert [block.name for block in chain.blocks] == ["1.0", "2.0", "3.0"]
    assert all(not block.branches for block in chain.blocks)


def test_a_network_that_repeats_nothing_has_no_blocks() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 3))
    assert find_blocks(captured(net, torch.randn(2, 4))) == ()

    class Cubed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 0.04 * x.pow(3)).tanh()

    assert find_blocks(captured(nn.Sequential(nn.Linear(4, 8), Cubed(), nn.Linear(8, 3)), torch.randn(2, 4))) == ()


def test_the_long_skip_around_blocks_is_no_block() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.last = nn.ModuleList(Attention(8) for _ in range(2)), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            y = x
            for block in self.blocks:
                y = y + block(y)
            return x + self.last(y)

    assert found(captured(Skip(), torch.randn(2, 6, 8))) == [["blocks.0", "blocks.1"]]
