"""Graphs with thin layers: full rank computes the same, names come from the old, shared weights stay shared."""

from __future__ import annotations

import pytest
import torch
from every_layer import every, functional
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.edit import finish, module_path
from compressor.graph.program import Program
from compressor.passes.factorizing.rewrite import blank, rewrite
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import find_sites
from compressor.passes.factorizing.svd import decompose
from compressor.passes.factorizing.tucker import tucker


def rewritten(program: Program, *, three: bool = False) -> Program:
    """All sites at full rank; with `three` convolutions as Tucker-2."""
    copy = functional(program)
    for site in find_sites(copy)[0]:
        matrix = site.matrix(copy)
        if three and site.shape.positions > 1 and site.shape.channels > 1:
            parts = tucker(matrix, site.shape.channels, site.shape.full, site.shape.channels)
            rewrite(copy, site, parts)
        else:
            rewrite(copy, site, decompose(matrix).cut(site.shape.full))
    return finish(copy)


@pytest.fixture(scope="module")
def program() -> Program:
    return every()


@pytest.mark.parametrize("three", [False, True])
def test_full_rank_computes_the_same(program: Program, three: bool) -> None:
    after = rewritten(program, three=three)
    for name, value in after.run().items():
        assert torch.allclose(value, program.run()[name], atol=1e-4, rtol=1e-4)
    after.export()
    names = set(after.tensors())
    assert {"stem.first.weight", "stem.second.weight", "stem.second.bias", "hidden.second.bias"} <= names
    assert {"positions_first.weight", "output.first.weight", "output.second.weight"} <= names
    assert ("wide.core.weight" in names) == three
    assert not {"stem.weight", "stem.bias", "positions", "words.weight", "output.weight"} & names
    assert {module_path(n) for n in program.nodes()} == {module_path(n) for n in after.nodes()}


def test_calls_of_one_weight_share_its_factors(program: Program) -> None:
    after = rewritten(program)
    readers = {str(n.target): len(n.users) for n in after.graph.nodes if n.op == "get_attr"}
    assert readers["twice.first.weight"] == readers["twice.second.weight"] == readers["twice.second.bias"] == 2
    assert readers["output.first.weight"] == readers["output.second.weight"] == 2


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(16, 24, 5, stride=2, padding=3, dilation=2), (2, 16, 30)),
        (nn.Conv2d(16, 24, (3, 5), padding="same"), (2, 16, 9, 9)),
        (nn.Conv3d(16, 20, 3, padding=1), (1, 16, 4, 5, 6)),
        (nn.Conv2d(16, 24, 1, stride=2), (2, 16, 9, 9)),
        (nn.Conv2d(16, 24, 3), (16, 9, 9)),
    ],
)
@pytest.mark.parametrize("three", [False, True])
def test_convolutions_of_all_sorts(layer: nn.Module, shape: tuple[int, ...], three: bool) -> None:
    program = capture(layer.eval(), (torch.randn(shape),)).program
    after = rewritten(program, three=three)
    assert torch.allclose(*(next(iter(each.run().values())) for each in (program, after)), atol=1e-4)


def test_a_new_bias_takes_the_place_of_the_old(program: Program) -> None:
    copy = functional(program)
    for site in find_sites(copy)[0]:
        if site.name in ("wide", "hidden"):
            parts = decompose(site.matrix(copy)).cut(site.shape.full)
            names = rewrite(copy, site, parts, torch.full((site.shape.outputs,), 2.0))
            assert names == (f"{site.name}.first.weight", f"{site.name}.second.weight")
    after = finish(copy)
    for name in ("wide", "hidden"):
        assert torch.equal(after.get(f"{name}.second.bias"), torch.full_like(after.get(f"{name}.second.bias"), 2.0))


def test_blank_parts_have_the_sizes(program: Program) -> None:
    copy = functional(program)
    for site in find_sites(copy)[0]:
        for choice in (Choice(3), Choice(4, 3)) if site.shape.positions > 1 else (Choice(3),):
            parts = blank(site, choice)
            assert parts.product.shape == (site.shape.outputs, site.shape.inputs)
            tensors = [parts.first, parts.second, *([parts.core] if hasattr(parts, "core") else [])]
            assert sum(t.numel() for t in tensors) == site.shape.weights(choice)
            assert all(bool(t.all()) for t in tensors)
