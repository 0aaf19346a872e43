"""What inputs call alike is one size to TVM, and a sum of sizes a variable of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compiled import needs_tvm
from decoders import llama, program_of, tiny_decoder
from programs import conv
from torch import SymInt

from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def settled(program: Program) -> tuple[Any, Any]:
    from compressor.export.tvm_sizes import settle

    with quiet():
        exported = as_exported(program).run_decompositions()
    return exported, settle(exported, program.inputs)


def symbols(node: Any) -> list[str]:
    return [str(size) for size in node.meta["val"].shape]


def test_one_name_is_one_symbol() -> None:
    _, sizes = settled(program_of(llama(layers=1)))
    ids, mask, key, value = (symbols(node) for node in sizes.inputs)
    assert key == value
    assert ids[0] == mask[0] == key[0]
    assert len({ids[0], ids[1], mask[1], key[2]}) == 4
    assert sizes.dynamic


def test_a_sum_that_an_input_is_as_long_as_is_that_inputs_size() -> None:
    _, sizes = settled(program_of(llama(layers=1)))
    ids, mask, key, _ = sizes.inputs
    whole = key.meta["val"].shape[2].node.expr + ids.meta["val"].shape[1].node.expr
    assert str(sizes.same[whole]) == symbols(mask)[1]


def test_one_dynamic_size_asks_for_nothing() -> None:
    _, sizes = settled(conv())
    assert not sizes.dynamic


def test_expressions_in_the_inputs_sizes() -> None:
    from tvm import relax, tirx

    exported, sizes = settled(tiny_decoder())
    builder = relax.BlockBuilder()
    batch, length, past = (tirx.Var(name, "int64") for name in "bsp")
    ids = relax.Var("ids", relax.TensorType([batch, length], "int64"))
    given = [ids, relax.Var("past", relax.TensorType([batch, past, 16], "float32"))]

    importer = SimpleNamespace(block_builder=builder, env=dict(zip(sizes.inputs, given, strict=True)))
    grown = next(node for node in exported.graph.nodes if node.name == "cat")
    flat = next(node for node in exported.graph.nodes if node.name == "view")
    with builder.function("main", given):
        whole = sizes.shape(grown, importer)
        assert whole[0].same_as(batch)
        assert isinstance(whole[1], type(past))
        assert whole[1] not in (past, length), "a variable of its own"
        assert sizes.shape(grown, importer)[1].same_as(whole[1]), "computed once"
        assert str(sizes.shape(flat, importer)[0]) == "b * s"
        assert sizes.of(7, importer) == 7
        builder.emit_func_output(ids)


def test_numbers_that_the_trace_found_are_numbers() -> None:
    _, sizes = settled(conv())
    assert all(isinstance(size, int | SymInt) for node in sizes.inputs for size in node.meta["val"].shape)
    assert torch.is_tensor(sizes.inputs[0].meta["val"])
