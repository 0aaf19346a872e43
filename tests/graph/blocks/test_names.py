"""Blocks are called by the path that their parameters share."""

from __future__ import annotations

from blocks import transformer

from compressor.graph.blocks.names import Names, shared_path


def test_the_shared_path() -> None:
    assert shared_path(["layers.3.a.weight", "layers.3.b.bias"]) == "layers.3"
    assert shared_path(["layers.3.weight"]) == "layers.3"
    assert shared_path(["layers.3.weight", "layers.31.weight"]) == "layers"
    assert shared_path(["a.weight", "b.weight"]) == shared_path([]) == ""


def test_names_are_given_once() -> None:
    program = transformer(2)
    nodes = program.graph.find_nodes(op="get_attr")
    names, end = Names(), next(program.nodes())
    assert names.of(["layers.0.one.weight"], nodes, end) == "layers.0.one"
    assert names.of(["layers.0.one.weight"], nodes, end) == "layers.0.one#1"
    assert names.of([], nodes, end) == end.name
