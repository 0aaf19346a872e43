"""Inputs and stored tensors stay as they are: what an in-place operator would write into becomes a copy.

x.add_(1)                      →  x' = clone(x); x'.add_(1)
v = buffer[0]; v.copy_(y)      →  b' = clone(buffer); v = b'[0]; v.copy_(y)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from compressor.graph import edit, shapes
from compressor.graph.functional import is_mutating
from compressor.graph.program import Program

__all__ = ["protected"]


def protected(program: Program) -> Program:
    """The same with a copy of each input and stored tensor that an in-place operator would have written into."""
    sources = {source for node in program.graph.nodes if is_mutating(node) for source in map(_source, _written(node))}
    for source in [node for node in program.graph.nodes if node in sources and node.op in ("placeholder", "get_attr")]:
        first = next(node for node in program.graph.nodes if node.op != "placeholder" and node > source)
        copy = edit.insert(program, torch.ops.aten.clone.default, (source,), like=source, before=first)
        source.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)
    if sources:
        shapes.infer(program)
        program.module.recompile()
    return program


def _written(node: fx.Node) -> list[fx.Node]:
    """The arguments that an in-place operator writes into."""
    return _aliased(node, lambda info: info.is_write)


def _source(node: fx.Node) -> fx.Node:
    """What a view was taken of, at the bottom."""
    above = [node.args[0]] if node.target is operator.getitem else _aliased(node, lambda info: True)
    return _source(above[0]) if above and isinstance(above[0], fx.Node) else node


def _aliased(node: fx.Node, wanted: Callable[[Any], bool]) -> list[fx.Node]:
    schema = getattr(node.target, "_schema", None)
    names = [a.name for a in schema.arguments if a.alias_info is not None and wanted(a.alias_info)] if schema else []
    values = [pytree.tree_leaves(edit.argument(node, name)) for name in names]
    return [leaf for leaves in values for leaf in leaves if isinstance(leaf, fx.Node)]
