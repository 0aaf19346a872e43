"""A program runs what it is given, tells what does not fit, counts, hashes, and shares tensors without writing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from decoders import tiny_decoder
from quantized import with_blocks
from torch import Tensor, fx, nn

from compressor.errors import InputError
from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec


class Tied(nn.Module):
    """Embedding tied to the head, a batch norm, and a table that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(20, 8), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(8.0))

    def forward(self, ids: Tensor, scale: Tensor) -> Tensor:
        x = self.norm(self.embed(ids).mT).mT + self.table
        return self.head(x * scale)


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Tied(), (torch.randint(0, 20, (2, 5)), torch.rand(2, 1, 8))).program


def stored(*tensors: Tensor) -> Program:
    """A program that returns its input and these stored tensors."""
    root, graph = nn.Module(), fx.Graph()
    x = graph.placeholder("x")
    for index, tensor in enumerate(tensors):
        root.register_buffer(f"t{index}", tensor)
    graph.output((x, *(graph.get_attr(f"t{index}") for index in range(len(tensors)))))
    specs = tuple(TensorSpec(f"o{i}", torch.float32, ()) for i in range(len(tensors) + 1))
    return Program(fx.GraphModule(root, graph), specs[:1], specs, (torch.zeros(()),))


def test_runs_by_name_and_by_position(program: Program) -> None:
    ids, scale = torch.randint(0, 20, (3, 5)), torch.rand(3, 1, 8)
    by_name = program.run({"scale": scale, "ids": ids, "labels": torch.zeros(3)})
    assert torch.equal(by_name["output"], program.run((ids, scale))["output"])
    assert not by_name["output"].requires_grad
    assert by_name["output"].shape == (3, 5, 20)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"ids": torch.zeros(2, 5, dtype=torch.long)}, "no value for input 'scale'"),
        ((torch.zeros(2, 5, dtype=torch.long),), "1 inputs are given, the model takes 2: ids, scale"),
        ((torch.zeros(2, 5), torch.rand(2, 1, 8)), "input 'ids': dtype is float32, the model takes int64"),
        (([[1]], torch.rand(2, 1, 8)), "input 'ids': a list is given, not a tensor"),
        ((torch.zeros(2, dtype=torch.long), torch.rand(2, 1, 8)), r"input 'ids': shape is \(2,\)"),
        ((torch.zeros(2, 5, dtype=torch.long), torch.rand(2, 1, 7)), r"the model takes \(batch, 1, 8\)"),
        ((torch.zeros(2, 5, dtype=torch.long), torch.rand(3, 1, 8)), r"input 'scale': shape is \(3, 1, 8\)"),
    ],
)
def test_what_does_not_fit_is_told(program: Program, inputs: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        program.run(inputs)  # type: ignore[arg-type]


def test_tensors_are_those_that_the_graph_reads(program: Program) -> None:
    norm = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    tied = {*program.tensors()} - norm - {"table"}
    assert tied in ({"embed.weight"}, {"head.weight"}, {"embed.weight", "head.weight"})
    assert norm < {*program.tensors()}


def test_parameters_are_counted_as_the_field_does(program: Program) -> None:
    assert program.parameters() == 20 * 8 + 2 * 8, "neither statistics nor the table, the tied weight once"
    assert program.unique_bytes() == 4 * (20 * 8 + 2 * 8 + 2 * 8 + 8)


def test_quantized_weights_still_count_as_parameters() -> None:
    import compressor.quant.ops  # noqa: F401  registers the operators

    program = capture(nn.Linear(8, 4, bias=False), (torch.randn(2, 8),)).program.copy()
    (read,) = (node for node in program.graph.nodes if node.op == "get_attr")
    edit.set_tensor(program, "weight", torch.zeros(4, 8, dtype=torch.int8))
    linear = next(program.nodes())
    scale = edit.add_tensor(program, "weight_scale", torch.ones(4), linear, buffer=True)
    zero = edit.add_tensor(program, "weight_zero_point", torch.zeros(4, dtype=torch.int8), linear)
    float_ = edit.insert(program, torch.ops.compressor.dequantize.default, (read, scale, zero, 0), like=linear)
    linear.replace_input_with(read, float_)
    assert edit.finish(program).parameters() == 32


def test_a_table_of_codes_counts_and_its_scales_do_not() -> None:
    from compressor.graph.contract import Context
    from compressor.passes.quantize import Quantize
    from compressor.targets.loader import load_target

    net = nn.Sequential(nn.Embedding(40, 16), nn.Linear(16, 4, bias=False))
    program = capture(net, (torch.randint(0, 40, (2, 8)),)).program
    done = Quantize("int8", mode="weight-only").run(program, Context(load_target("x86-64"))).program
    assert done.tensors()["0.weight"].dtype is torch.int8
    assert done.parameters() == program.parameters() == 40 * 16 + 16 * 4


def test_overlapping_storage_counts_once() -> None:
    base = torch.arange(10.0)
    assert stored(base[:6], base[4:], base[2:5]).unique_bytes() == 40
    assert stored(base[:2], base[8:]).unique_bytes() == 16, "only what is read"
    assert stored(base[:1].expand(100)).unique_bytes() == 4
    assert stored(base.view(2, 5).T, base.clone()).unique_bytes() == 80
    assert stored(torch.zeros(0), base).unique_bytes() == 40


def test_a_copy_has_its_own_graph_and_the_same_tensors(program: Program) -> None:
    before = program.hash()
    copy = program.copy()
    assert copy.hash() == before
    assert copy.get("table") is program.get("table")
    edit.set_tensor(copy, "table", torch.zeros(8))
    copy.graph.output_node().prev.replace_all_uses_with(next(copy.nodes()))
    assert copy.hash() != before
    assert program.hash() == before
    assert program.get("table")[3] == 3


def test_hash_sees_values_wiring_and_names_and_no_example(program: Program) -> None:
    twin = replace(program, example=tuple(torch.zeros_like(t) for t in program.example))
    assert twin.hash() == program.hash()
    value = program.copy()
    edit.set_tensor(value, "norm.bias", program.get("norm.bias") + 1e-6)
    wiring = program.copy()
    add = next(node for node in wiring.nodes() if node.target is torch.ops.aten.add.Tensor)
    add.target = torch.ops.aten.sub.Tensor
    renamed = replace(program, outputs=(replace(program.outputs[0], name="logits"),))
    hashes = {p.hash() for p in (program, value, wiring, renamed)}
    assert len(hashes) == 4


def test_exports_again_with_its_dynamic_dimensions(program: Program) -> None:
    exported = program.export()
    ids, scale = torch.randint(0, 20, (4, 5)), torch.rand(4, 1, 8)
    assert torch.allclose(exported.module()(ids, scale)[0], program.run((ids, scale))["output"])


def test_weights_in_blocks_count_each_not_their_bytes() -> None:
    plain = capture(nn.Linear(70, 5), (torch.randn(2, 70),)).program
    assert with_blocks(plain, "linear").parameters() == plain.parameters() == 70 * 5 + 5


def test_a_cache_that_is_not_given_is_empty() -> None:
    ids = torch.randint(1, 60, (2, 5))
    flat = tiny_decoder().flatten({"ids": ids})
    assert [tuple(value.shape) for value in flat] == [(2, 5), (2, 0, 16)]


def test_a_decoder_exports_again_with_its_dynamic_dimensions() -> None:
    exported = tiny_decoder().export()
    ids = torch.randint(1, 60, (3, 7))
    again = exported.module()(ids, torch.zeros(3, 4, 16))[0]
    torch.testing.assert_close(again, tiny_decoder().run([ids, torch.zeros(3, 4, 16)])["logits"])
