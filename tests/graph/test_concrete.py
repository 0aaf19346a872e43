"""Shapes at an asked batch size, without touching the program."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from decoders import tiny_decoder
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.concrete import READING, concrete_values, op_name
from compressor.graph.program import Program


class Tagger(nn.Module):
    """Words to tags: an embedding, a recurrent layer in both directions, a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, bidirectional=True, num_layers=2, batch_first=True)
        self.tag = nn.Linear(12, 5)

    def forward(self, words: Tensor) -> Tensor:
        return self.tag(self.lstm(self.embed(words))[0])


@pytest.fixture(scope="module")
def tagger() -> Program:
    return capture(Tagger().eval(), (torch.randint(0, 20, (2, 7)),)).program


def shapes(program: Program, batch: int) -> dict[str, tuple[int, ...]]:
    values = concrete_values(program, batch)
    return {node.name: tuple(v.shape) for node, v in values.items() if isinstance(v, Tensor)}


def test_batch_is_the_asked_one_and_the_sequence_the_examples(tagger: Program) -> None:
    found = shapes(tagger, 3)
    last = next(node.name for node in tagger.nodes() if op_name(node) == "linear")
    assert found[last] == (3, 7, 5)


def test_recurrent_shapes_are_those_that_torch_computes(tagger: Program) -> None:
    values = concrete_values(tagger, 2)
    node = next(node for node in tagger.nodes() if op_name(node) == "lstm")
    real = nn.LSTM(8, 6, bidirectional=True, num_layers=2, batch_first=True)(torch.zeros(2, 7, 8))
    assert [tuple(v.shape) for v in values[node]] == [tuple(t.shape) for t in (real[0], *real[1])]


def test_nothing_is_allocated_and_metadata_stays_symbolic(tagger: Program) -> None:
    before = {node: str(node.meta.get("val")) for node in tagger.graph.nodes}
    values = concrete_values(tagger, 10**9)  # would be gigabytes a value
    assert max(v.numel() for v in values.values() if isinstance(v, Tensor)) > 10**10
    assert {node: str(node.meta.get("val")) for node in tagger.graph.nodes} == before


def test_a_fixed_batch_stays_fixed() -> None:
    program = capture(nn.Linear(3, 2), (torch.zeros(4, 3),), static=True).program
    assert (4, 2) in shapes(program, 1).values()


def test_sizes_that_depend_on_data_fall_back_to_the_recorded_shape(tagger: Program) -> None:
    class Found(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nonzero(x)

    with torch.no_grad():
        exported = torch.export.export(Found(), (torch.ones(3, 4),))
    graph = exported.module(check_guards=False)
    program = replace(capture(nn.Identity(), (torch.ones(3, 4),), static=True).program, module=graph)
    found = next(v for n, v in concrete_values(program).items() if op_name(n) == "nonzero")
    assert tuple(found.shape) == (1, 2)


def test_recorded_sizes_follow_the_asked_batch() -> None:
    class Kept(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x[x > 0], x.new_zeros(x.shape[0])

    program = capture(Kept(), (torch.ones(4, 3),)).program
    node = next(node for node in program.nodes() if op_name(node) == "new_zeros")
    node.target = torch.ops.aten.nonzero.default  # cannot be evaluated on shapes: the recorded one stands in
    assert tuple(concrete_values(program, 7)[node].shape) == (7,)


@pytest.mark.parametrize(("op", "name"), [("relu_", "relu"), ("relu", "relu"), ("hardtanh_", "hardtanh")])
def test_an_in_place_operator_has_its_own_operators_name(op: str, name: str) -> None:
    graph = torch.fx.Graph()
    node = graph.call_function(getattr(torch.ops.aten, op).default, (graph.placeholder("x"),))
    assert op_name(node) == name


def test_a_decoder_takes_a_token_behind_others_or_reads_a_text() -> None:
    program = tiny_decoder()
    ids, past = program.graph.find_nodes(op="placeholder")
    for sizes, wanted in ((None, ((3, 1), (3, 128, 16))), (READING, ((3, 128), (3, 0, 16)))):
        values = concrete_values(program, 3, sizes)
        assert (tuple(values[ids].shape), tuple(values[past].shape)) == wanted
        scores, kept = (values[node] for node in program.graph.output_node().args[0])  # type: ignore[union-attr]
        assert tuple(scores.shape) == (*wanted[0], 61)
        assert kept.shape[1] == wanted[0][1] + wanted[1][1]
    assert tuple(concrete_values(program, sizes={})[past].shape[1:]) == tuple(program.example[1].shape[1:])
