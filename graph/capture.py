"""From an `nn.Module` and example inputs to a `Program`.

    torch.export.export(model, args, kwargs, dynamic_shapes).module()  →  flat fx graph of ATen ops

Batch (dimension 0) and sequence length (dimension 1 of integer or boolean matrices and of 3-d floats) stay dynamic
where the model allows; what had to be fixed is told. The captured graph never writes into its inputs or the model's
buffers: where the model does, it gets a copy.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from compressor.errors import CaptureError, CompressError, InputError
from compressor.graph.blame import depends_on_data, first_line, torch_layer, user_line
from compressor.graph.eager import Inputs, close, eager, owned, untouched
from compressor.graph.naming import BATCH, PAST_KEY_VALUES, SEQUENCE, input_specs, output_names, output_specs
from compressor.graph.program import Program
from compressor.graph.protect import protected
from compressor.graph.quiet import quiet
from compressor.graph.signature import flat_names
from compressor.graph.spelled import spelled

__all__ = ["Captured", "capture", "from_exported", "widened"]

_UNBOUNDED = 2**31  # from here on a bound is none that a text meets


@dataclass(frozen=True)
class Captured:
    """The program, and in words what the capture had to fix or leave out, with the reason.

    `longest`: past and sequence together may have no more places, or the model's code takes another way (or fails);
    None where nothing in it asks how many there are.
    """

    program: Program
    notes: tuple[str, ...] = ()
    longest: int | None = None


def capture(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    synthetic: bool = False,
    static: bool = False,
    growing: int | None = None,
) -> Captured:
    """Capture `model` in eval mode with these inputs (nested containers of tensors).

    A batch of one is doubled, because torch specializes on one. The program shares the model's parameters, never its
    inputs; the model's mode and buffers are left as they were. `growing` is the dimension along which members of the
    input `past_key_values` grow, which stays dynamic as a sequence does. Raises CaptureError with the user's line
    when the model's control flow depends on data or its outputs are not a function of its inputs, InputError when the
    model itself rejects the inputs.
    """
    given = owned((tuple(args), dict(kwargs or {})))
    with untouched(model) as written, quiet():
        expected = eager(model, given)
        tries = [(given, expected, ())] if static else _tries(model, given, expected, growing)
        failure: Exception | None = None
        for inputs, reference, wish in tries:
            try:
                exported = _export(model, inputs, wish, growing)
                program = from_exported(exported, synthetic=synthetic)
            except CompressError:
                raise
            except Exception as error:  # noqa: BLE001  torch.export raises many types; each means "not this wish"
                failure = failure if failure is not None and depends_on_data(failure) else error
                continue
            if BATCH in wish and _batch_of(given) is not None and not _is_dynamic(program, BATCH):
                continue
            _agree(program, reference)
            notes = () if static else (*_fixed(program, failure), *(_stateful(name) for name in written()))
            return Captured(program, notes, None if growing is None else _longest(exported))
    raise _capture_error(failure) from failure


def from_exported(exported: ExportedProgram, *, synthetic: bool = False) -> Program:
    """The flat program of a `torch.export` artifact, with inputs and outputs named after their structure.

    Arguments that are not tensors are constants of the captured graph and disappear, as do outputs that are not.
    Raises CaptureError when the artifact carries no example inputs or returns no tensor.
    """
    if exported.example_inputs is None:
        raise CaptureError("the exported program carries no example inputs", way_out="Export it again with them.")
    args, kwargs = exported.example_inputs
    nested = exported.module(check_guards=False)
    graph = nested.graph
    codegen: Any = graph._codegen
    bound = dict(zip(codegen.pytree_info.orig_args, (*args, *kwargs.values()), strict=False))
    graph.set_codegen(CodeGen())
    example, names = pytree.tree_leaves(bound), flat_names(bound, "input")
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    kept = [i for i, leaf in enumerate(example) if isinstance(leaf, Tensor)]
    for index, node in enumerate(placeholders):
        if index not in kept:
            graph.erase_node(node)
    output = graph.output_node()
    leaves = pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: leaf is None)
    results = [i for i, leaf in enumerate(leaves) if isinstance(_value(nested, leaf), Tensor)]
    if not results:
        raise CaptureError("the model returns no tensor", way_out="Return the tensors that its user needs.")
    output.args = (tuple(leaves[i] for i in results),)
    for node in [node for node in graph.nodes if node.op == "get_attr" and not node.users]:
        graph.erase_node(node)  # batch norm's counters, say: nothing reads them
    inputs, words = input_specs([names[i] for i in kept], [placeholders[i].meta["val"] for i in kept])
    shown = output_names(exported, len(leaves), [spec.name for spec in inputs])
    outputs = output_specs([shown[i] for i in results], [_value(nested, leaves[i]) for i in results], words)
    program = Program(fx.GraphModule(nested, graph), inputs, outputs, tuple(example[i] for i in kept), synthetic)
    return protected(program)


def widened(model: nn.Module, inputs: Inputs) -> Inputs:
    """The same inputs with a batch of two where they had one, if the model accepts that."""
    return _widened(model, inputs)[0]


def _widened(model: nn.Module, inputs: Inputs) -> tuple[Inputs, list[Tensor] | None]:
    """The same with the model's outputs for it, None where the inputs stayed as they were."""
    if _batch_of(inputs) != 1:
        return inputs, None
    doubled: Inputs = pytree.tree_map(lambda t: torch.cat([t, t]) if isinstance(t, Tensor) and t.dim() else t, inputs)
    with contextlib.suppress(InputError):
        return doubled, eager(model, doubled)
    return inputs, None


_Try = tuple[Inputs, list[Tensor], tuple[str, ...]]


def _tries(model: nn.Module, given: Inputs, expected: list[Tensor], growing: int | None) -> list[_Try]:
    """What to ask torch.export for, most dynamic first, without asking for the same twice.

    The original sizes come back into play where the batch cannot be dynamic.
    """
    wide, outputs = _widened(model, given)
    reference = expected if outputs is None else outputs
    full, seen = (BATCH, SEQUENCE), []
    ladder: list[_Try] = [(wide, reference, full), (wide, reference, (BATCH,)), (given, expected, (SEQUENCE,))]
    tries: list[_Try] = []
    for inputs, outputs, wish in [*ladder, (given, expected, ())]:
        key = _dims(inputs, wish, growing), inputs is wide
        if key not in seen:
            seen.append(key)
            tries.append((inputs, outputs, wish))
    return tries


def _export(model: nn.Module, inputs: Inputs, wish: Sequence[str], growing: int | None) -> ExportedProgram:
    args, kwargs = inputs
    lengths = _lengths(inputs)
    with spelled(model, kwargs), torch.no_grad():
        bound = dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)
        asked: Any = {
            name: pytree.tree_map(lambda leaf, name=name: _dynamic(name, leaf, wish, lengths, growing), value)
            for name, value in bound.items()
        }
        dims = asked if wish else None
        return torch.export.export(model, args, kwargs, dynamic_shapes=dims, strict=False)


def _longest(exported: ExportedProgram) -> int | None:
    """Places that the trace holds for: the least that a dimension which is no batch may have, and two of the others,
    the fewest that torch.export assumes."""
    values = [node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"]
    sizes: list[Any] = [size for value in values if isinstance(value, Tensor) for size in value.shape[1:]]
    symbols = {symbol for size in sizes if isinstance(size, torch.SymInt) for symbol in size.node.expr.free_symbols}
    ends = [exported.range_constraints[each].upper for each in symbols if each in exported.range_constraints]
    finite = [int(end) for end in ends if end.is_finite and end < _UNBOUNDED]
    return min(finite) + 2 if finite else None


def _dims(inputs: Inputs, wish: Sequence[str], growing: int | None) -> list[list[int]]:
    """For each input tensor, the dimensions of it that are asked to be dynamic."""
    args, kwargs = inputs
    leaves = [(name, leaf) for name, value in (("", args), *kwargs.items()) for leaf in pytree.tree_leaves(value)]
    lengths = _lengths(inputs)
    return [sorted(_dynamic(n, v, wish, lengths, growing) or {}) for n, v in leaves if isinstance(v, Tensor)]


def _lengths(inputs: Any) -> set[int]:
    """The sequence lengths that integer matrices have; a matrix of floats as long as one of them goes with it."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim() == 2]
    return {leaf.shape[1] for leaf in leaves if not leaf.dtype.is_floating_point}


def _dynamic(
    name: str, leaf: Any, wish: Sequence[str], lengths: set[int], growing: int | None
) -> dict[int, Any] | None:  # fmt: skip
    """Which dimensions of one leaf of the argument `name` are asked to be dynamic."""
    if not isinstance(leaf, Tensor) or leaf.dim() == 0 or not wish:
        return None
    dims: dict[int, Any] = {0: Dim.AUTO} if BATCH in wish else {}
    vectors = leaf.dim() == 3 and leaf.dtype.is_floating_point
    if SEQUENCE in wish and growing is not None and name == PAST_KEY_VALUES:
        dims[growing] = Dim.AUTO
    elif SEQUENCE in wish and (vectors or (leaf.dim() == 2 and leaf.shape[1] in lengths)) and leaf.shape[1] > 1:
        dims[1] = Dim.AUTO
    return dims or None


def _is_dynamic(program: Program, name: str) -> bool:
    return any(name in spec.shape for spec in program.inputs)


def _batch_of(inputs: Inputs) -> int | None:
    """The size that dimension 0 of every input shares, if it does."""
    sizes = {leaf.shape[0] for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def _fixed(program: Program, failure: Exception | None) -> list[str]:
    """In words, the batch and the lengths of integer inputs that did not stay dynamic, and why.

    Nothing tells a length from a width in 3-d floats, so that those are not missed.
    """
    why = first_line(failure) if failure is not None else "the model's code fixes it"
    notes = []
    for spec in program.inputs:
        words = {0: BATCH} if spec.dtype.is_floating_point or len(spec.shape) != 2 else {0: BATCH, 1: SEQUENCE}
        fixed = [(word, spec.shape[i]) for i, word in words.items() if i < len(spec.shape)]
        notes += [f"{word} of {spec.name} fixed at {size}: {why}" for word, size in fixed if isinstance(size, int)]
    return notes


def _stateful(name: str) -> str:
    return f"the forward writes into {name}: in the captured graph every run starts from its stored value"


def _agree(program: Program, expected: list[Tensor]) -> None:
    """The captured graph computes what the model does on the example."""
    found = list(program.run().values())
    names = [spec.name for spec in program.outputs]
    wrong = next((n for n, a, b in zip(names, found, expected, strict=False) if not close(a, b)), None)
    if len(found) != len(expected):
        wrong = f"{len(found)} of {len(expected)}"
    if wrong is not None:
        pure = "The model keeps state or draws random numbers between calls; make its forward pure."
        unlike = "The model gives NaN for these inputs, as where a mask hides everything; give real ones with --data."
        numbers = all(not value.isnan().any() for value in expected)
        raise CaptureError(
            f"the captured graph disagrees with the model on output {wrong!r}", way_out=pure if numbers else unlike
        )


def _value(module: nn.Module, leaf: Any) -> Any:
    """The fake value of an output leaf, or the stored tensor that it reads."""
    if not isinstance(leaf, fx.Node):
        return None
    return leaf.meta["val"] if "val" in leaf.meta else operator.attrgetter(str(leaf.target))(module)


def _capture_error(error: Exception | None) -> CaptureError:
    text = first_line(error) if error else "no capture was tried"
    layer = f" (in {found})" if error is not None and (found := torch_layer(error)) else ""
    dependent = error is not None and depends_on_data(error)
    what = "control flow depends on data" if dependent else "cannot be captured as a graph"
    return CaptureError(
        f"{what}{layer}: {text}",
        where=user_line(error) if error else "",
        way_out="Rewrite the branch with torch.where or torch.cond, or export the part without it."
        if dependent
        else "See the line above; torch.export must be able to trace the model's forward.",
    )
