"""Products with a stored matrix as linears, for passes that look at layers: see `matmul`."""

from __future__ import annotations

from compressor.graph import edit, shapes
from compressor.graph.functional import mutated
from compressor.graph.program import Program
from compressor.passes.folding.matmul import MatMul
from compressor.passes.folding.rule import Bench

__all__ = ["to_linears"]


def to_linears(program: Program) -> None:
    """Rewrite a program under way (`edit.begin`) where the equations hold; what is changed in place stays."""
    rule, bench, changing = MatMul(), Bench(program), mutated(program)
    for node in list(rule.matches(bench)):
        if not node._erased and changing.isdisjoint({node, *node.users, *node.all_input_nodes}):
            rule.apply(bench, node)
    edit.delete_unused(program)
    shapes.infer(program)
