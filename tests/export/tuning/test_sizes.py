"""Sizes that are known only when a network runs: what calls they make, and another body at one set of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn
from tuned import Summed, batched, tvm

from compressor.export.tuning.sizes import buffers, calls, known_sizes, settled, with_case
from compressor.export.tuning.tasks import functions
from compressor.export.tvm import textbook
from compressor.graph.capture import capture


@pytest.fixture(scope="module")
def module() -> Any:
    needs_tvm()
    return textbook(batched(), tvm_target())


def test_calls_are_counted_by_the_sizes_they_are_made_at(module: Any) -> None:
    found = calls(module, [(5, 8)])
    assert found.keys() == functions(module).keys()
    values = [[value for _, value in sizes] for counter in found.values() for sizes in counter]
    assert all(set(each) <= {5} for each in values)
    assert sum(sum(counter.values()) for counter in found.values()) >= 3
    assert max(max(counter.values()) for counter in found.values()) == 2  # two layers of one shape


def test_nothing_is_known_without_the_inputs_shapes(module: Any) -> None:
    assert not calls(module, [])


def test_a_function_with_numbers_for_its_sizes(module: Any) -> None:
    for name, function in functions(module).items():
        assert not known_sizes(function)
        (sizes,) = calls(module, [(5, 8)])[name]
        fixed = settled(function, sizes)
        assert known_sizes(fixed)
        assert [int(size) for size in fixed.params[0].shape] == [5, 8]
        assert settled(fixed, ()) is fixed


def test_another_body_runs_at_its_sizes_alone(module: Any) -> None:
    name, function = next((name, each) for name, each in functions(module).items() if len(each.params) == 4)
    (sizes,) = calls(module, [(1, 8)])[name]
    one = settled(function, sizes)
    other = one.with_body(_nothing())  # told apart by what it leaves undone
    both = with_case(function, sizes, other).with_attr("global_symbol", "main")
    built = tvm.compile(tvm.IRModule({"main": both}), target="llvm")
    draws = np.random.default_rng(0)
    for rows in (1, 2, 7):
        arrays = [draws.standard_normal([rows, 8] if i == 0 else [int(s) for s in each.shape]).astype("float32")
                  for i, each in enumerate(function.params[:-1])]  # fmt: skip
        result = tvm.runtime.tensor(np.zeros((rows, int(function.params[-1].shape[1])), "float32"))
        plain = tvm.runtime.tensor(np.zeros_like(result.numpy()))
        given = [tvm.runtime.tensor(array) for array in arrays]
        built["main"](*given, result)
        alone = tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target="llvm")
        alone["main"](*given, plain)
        expected = plain.numpy()
        assert np.allclose(result.numpy(), 0 if rows == 1 else expected, atol=1e-6)
        assert np.abs(expected).max() > 0.1


def _nothing() -> Any:
    """A body that does nothing."""
    block = tvm.s_tir.SBlock([], [], [], "root", tvm.tirx.Evaluate(0))
    return tvm.s_tir.SBlockRealize([], tvm.tirx.const(True, "bool"), block)


def test_sizes_that_are_products_and_sizes_that_are_given_besides_are_known() -> None:
    needs_tvm()
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Flatten(0, 1), Summed(8, 8), nn.Tanh()).eval()
    module = textbook(capture(layer, (torch.randn(2, 6, 8),)).program, tvm_target())
    found = calls(module, [(3, 5, 8)])
    assert found.keys() == functions(module).keys()
    besides = [name for name, each in functions(module).items() if len(buffers(each)) < len(each.params)]
    numbers: set[int] = set()
    for name in besides:
        (sizes,) = found[name]
        assert sorted(value for _, value in sizes) == [3, 5]
        fixed = settled(module[name], sizes)
        assert known_sizes(fixed)
        assert len(fixed.params) == len(buffers(fixed))
        numbers |= {int(size) for each in fixed.params for size in each.shape}
    assert 15 in numbers
