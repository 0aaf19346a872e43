"""A program as an `ExportedProgram`, without tracing it again.

    get_attr weight  →  placeholder p_weight, listed in the signature;     everything else as it is

`Program.export()` traces the graph through fake tensors once more, seconds for a hundred layers; the shapes that it
would find are on the nodes already, where `finish` put them. Graphs with subgraphs or in-place operators are left to
`Program.export()`.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, fx, nn
from torch._export.verifier import SpecViolationError
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from compressor.graph.program import Program

__all__ = ["as_exported", "lift"]


def as_exported(program: Program) -> ExportedProgram:
    """`lift` where it can be, else `Program.export()`. Raises what that raises."""
    try:
        return lift(program)
    except (ValueError, SpecViolationError):
        exported = program.export()
        exported._guards_code = []  # they fail on inputs that are None; a program checks its inputs itself
        return exported


def lift(program: Program) -> ExportedProgram:
    """The program's own graph and tensors in the form that torch's exporters take.

    Raises ValueError when a node has no inferred value or the graph reads something that is not a tensor, torch's
    SpecViolationError where an operator works in place.
    """
    graph, values = fx.Graph(), {}
    tensors, inputs = program.tensors(), []
    for number, (name, tensor) in enumerate(tensors.items()):
        node = _placeholder(graph, f"p_{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{number}")
        kind = InputKind.PARAMETER if isinstance(tensor, nn.Parameter) else InputKind.BUFFER
        persistent = None if kind is InputKind.PARAMETER else True
        inputs.append(InputSpec(kind, TensorArgument(node.name), name, persistent))
        values[name] = node
    mapping: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        if node.op == "output":
            continue
        if node.op == "get_attr":
            if str(node.target) not in values:
                raise ValueError(f"{node.target} is no tensor")
            mapping[node] = values[str(node.target)]
        elif node.op == "placeholder":  # under a name of our own: torch renames those of builtins, `input` for one
            mapping[node] = _placeholder(graph, f"u_{len(inputs)}")
            mapping[node].meta = dict(node.meta)
        else:
            mapping[node] = graph.node_copy(node, lambda n: mapping[n])
        if "val" not in node.meta:
            raise ValueError(f"{node.name} has no value")
        mapping[node].meta.setdefault("val", node.meta["val"])
        if node.op == "placeholder":
            inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(mapping[node].name), None))
    results = next(iter(reversed(program.graph.nodes))).args[0]
    outputs = [mapping[result] for result in results]
    graph.output(tuple(outputs))
    returned = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in outputs]
    exported = ExportedProgram(
        root=nn.Module(),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, returned),
        state_dict=dict(tensors),
        range_constraints=_ranges(program),
        module_call_graph=[ModuleCallEntry("", _call(inputs, returned, program))],
        example_inputs=(program.example, {}),
    )
    exported._guards_code = []  # of the first trace, by names that are not here; a program checks its inputs itself
    return exported


def _placeholder(graph: fx.Graph, wish: str) -> fx.Node:
    """An input called as it is named: fx makes names of its own of some wishes, and torch goes by either."""
    node = graph.placeholder(wish)
    node.target = node.name
    return node


def _call(inputs: list[InputSpec], outputs: list[OutputSpec], program: Program) -> ModuleCallSignature:
    given = [spec.arg for spec in inputs if spec.kind is InputKind.USER_INPUT]
    takes, gives = pytree.tree_structure((program.example, {})), pytree.tree_structure(tuple(range(len(outputs))))
    unnamed = TensorArgument("")  # torch looks in vain for names that decompositions take away
    return ModuleCallSignature(given, [unnamed for _ in outputs], takes, gives)


def _ranges(program: Program) -> dict[object, object]:
    """What is known of each dynamic dimension's size."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, Tensor):
            sizes: tuple[object, ...] = tuple(value.shape)
            for size in sizes:
                if isinstance(size, torch.SymInt):
                    return dict(size.node.shape_env.var_to_range)
    return {}
