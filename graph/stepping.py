"""One batch on its way through a program, node by node, at the caller's pace: weights may change between the steps.

A fork goes on alone from where its stepper is, with other operators in place of some, so that what came before them is
computed once however many replacements are tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from compressor.graph.program import Program

__all__ = ["Stepper"]


class Stepper:
    """What the nodes so far computed. A value goes with its last reader; stored tensors are read when needed."""

    def __init__(self, program: Program, inputs: Sequence[Tensor]) -> None:
        """`inputs` in the order of the program's, as `Program.flatten` gives them."""
        self.program = program
        self.values: dict[fx.Node, Any] = {}
        self.waiting = {node: len(node.users) for node in program.graph.nodes}
        self.order = [node for node in program.graph.nodes if node.op != "output"]
        self.place = 0
        self.inputs = dict(zip((node for node in self.order if node.op == "placeholder"), inputs, strict=True))
        self.instead: Mapping[fx.Node, Callable[..., Any]] = {}

    def argument(self, node: fx.Node) -> Any:
        """What a node that some other is still to read computed or stands for."""
        if node.op == "get_attr":
            value = self.program.get(str(node.target))
            return value.detach() if isinstance(value, Tensor) else value
        return self.values[node]

    def step(self) -> fx.Node:
        """Run the next node. Raises StopIteration after the last."""
        if self.place == len(self.order):
            raise StopIteration
        node: fx.Node = self.order[self.place]
        self.place += 1
        if node.op == "placeholder":
            self.values[node] = self.inputs[node]
        elif node.op != "get_attr":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.argument)
            target: Any = self.program.get(str(node.target)) if node.op == "call_module" else node.target
            self.values[node] = self.instead.get(node, target)(*args, **kwargs)
        for source in node.all_input_nodes:
            if source.op == "get_attr":  # holds nothing, and may be new: a bias that a layer was given on the way
                continue
            self.waiting[source] -= 1
            if not self.waiting[source]:
                self.values.pop(source, None)
        if not self.waiting[node]:
            self.values.pop(node, None)
        return node

    def run_to(self, node: fx.Node) -> None:
        """Run all up to and with this node, which other nodes read."""
        while node not in self.values:
            self.step()

    def run_before(self, node: fx.Node) -> None:
        """Run all that comes before this node; nothing where it ran already."""
        end = self.order.index(node)
        while self.place < end:
            self.step()

    def fork(self, instead: Mapping[fx.Node, Callable[..., Any]]) -> Stepper:
        """A stepper of its own at the same place; it calls `instead[node](*args, **kwargs)` where a node is there.

        Values are shared: a program with in-place operators is forked at its start alone, from inputs of its own.
        """
        other = copy.copy(self)
        other.values, other.waiting, other.instead = dict(self.values), dict(self.waiting), instead
        return other

    def outputs(self) -> list[Any]:
        """Run what is left; the program's outputs in order."""
        while self.place < len(self.order):
            self.step()
        return [self.argument(node) for node in self.program.graph.output_node().args[0]]  # type: ignore[union-attr,arg-type]
