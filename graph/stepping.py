"""One batch on its way through a program, node by node, at the caller's pace: weights may change between the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from compressor.graph.program import Program

__all__ = ["Stepper"]


class Stepper:
    """What the nodes so far computed. A value goes with its last reader; stored tensors are read when needed."""

    def __init__(self, program: Program, inputs: Sequence[Tensor]) -> None:
        """`inputs` in the order of the program's, as `Program.flatten` gives them."""
        self.program, self.inputs = program, iter(inputs)
        self.values: dict[fx.Node, Any] = {}
        self.waiting = {node: len(node.users) for node in program.graph.nodes}
        self.left = iter([node for node in program.graph.nodes if node.op != "output"])

    def argument(self, node: fx.Node) -> Any:
        """What a node that some other is still to read computed or stands for."""
        if node.op == "get_attr":
            value = self.program.get(str(node.target))
            return value.detach() if isinstance(value, Tensor) else value
        return self.values[node]

    def step(self) -> fx.Node:
        """Run the next node. Raises StopIteration after the last."""
        node: fx.Node = next(self.left)
        if node.op == "placeholder":
            self.values[node] = next(self.inputs)
        elif node.op != "get_attr":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.argument)
            target: Any = self.program.get(str(node.target)) if node.op == "call_module" else node.target
            self.values[node] = target(*args, **kwargs)
        for source in node.all_input_nodes:
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
