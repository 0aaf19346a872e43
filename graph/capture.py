"""From an `nn.Module` and example inputs to a `Program`.

    torch.export.export(model, args, kwargs, dynamic_shapes).module()  →  flat fx graph of ATen ops

Batch (dimension 0) and sequence length (dimension 1 of integer matrices and of 3-d floats) stay dynamic where the
model allows; what had to be fixed is told.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from compressor.errors import CaptureError, CompressError, InputError
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.graph.signature import TensorSpec, flat_names

__all__ = ["Captured", "capture", "from_exported"]

_Inputs = tuple[tuple[Any, ...], dict[str, Any]]
BATCH, SEQUENCE = "batch", "sequence"
TOLERANCE = 1e-3  # relative; capture decomposes nothing, so only reordered reductions may differ


@dataclass(frozen=True)
class Captured:
    """The program, and in words which wished-for dimensions had to be fixed, with the reason."""

    program: Program
    notes: tuple[str, ...] = ()


def capture(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    synthetic: bool = False,
    static: bool = False,
) -> Captured:
    """Capture `model` in eval mode with these inputs (nested containers of tensors).

    A batch of one is doubled, because torch specializes on one. The program shares the model's parameters.
    Raises CaptureError with the user's line when the model's control flow depends on data, InputError when the
    model itself rejects the inputs.
    """
    given = (tuple(args), dict(kwargs or {}))
    with _eval_mode(model), quiet():
        _eager(model, given)
        notes: list[str] = []
        failure: Exception | None = None
        for wish in [()] if static else [(BATCH, SEQUENCE), (BATCH,), ()]:
            inputs = _widened(model, given) if wish else given
            try:
                program = _export(model, inputs, wish, synthetic)
                if wish and not _is_dynamic(program, BATCH) and _batch_of(given) is not None:
                    notes.append("batch fixed: the model's code fixes it")
                    continue
                _agree(model, inputs, program)
                return Captured(program, tuple(notes))
            except CompressError:
                raise
            except Exception as error:  # noqa: BLE001  torch.export raises many types; each means "not this wish"
                failure = error
                if _depends_on_data(error):
                    break
                notes.append(f"{' and '.join(wish) or 'everything'} fixed: {_first_line(error)}")
    raise _capture_error(failure) from failure


def from_exported(exported: ExportedProgram, *, synthetic: bool = False) -> Program:
    """The flat program of a `torch.export` artifact, with inputs and outputs named after their structure.

    Arguments that are not tensors are constants of the captured graph and disappear, as do outputs that are not.
    Raises CaptureError when the artifact carries no example inputs.
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
    output = next(iter(reversed(graph.nodes)))
    leaves = pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: leaf is None)
    output_names = _output_names(exported, len(leaves))
    results = [i for i, leaf in enumerate(leaves) if isinstance(leaf, fx.Node) and isinstance(leaf.meta["val"], Tensor)]
    output.args = (tuple(leaves[i] for i in results),)
    symbols: dict[str, str] = {}
    inputs = tuple(_input_spec(names[i], placeholders[i].meta["val"], symbols) for i in kept)
    outputs = tuple(_spec(output_names[i], leaves[i].meta["val"], symbols) for i in results)
    module = fx.GraphModule(nested, graph)
    return Program(module, inputs, outputs, tuple(example[i] for i in kept), synthetic)


def _export(model: nn.Module, inputs: _Inputs, wish: Sequence[str], synthetic: bool) -> Program:
    args, kwargs = inputs
    dims = tuple(pytree.tree_map(lambda leaf: _dims(leaf, wish), args))
    shapes: Any = dims
    if kwargs:
        shapes = dict(zip(_argument_names(model, args), dims, strict=True))
        shapes |= pytree.tree_map(lambda leaf: _dims(leaf, wish), kwargs)
    with torch.no_grad():
        exported = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
    return from_exported(exported, synthetic=synthetic)


def _argument_names(model: nn.Module, args: Sequence[Any]) -> list[str]:
    return list(inspect.signature(model.forward).bind(*args).arguments) if args else []


def _dims(leaf: Any, wish: Sequence[str]) -> dict[int, Any] | None:
    """Which dimensions of one leaf are asked to be dynamic."""
    if not isinstance(leaf, Tensor) or leaf.dim() == 0 or not wish:
        return None
    dims: dict[int, Any] = {0: Dim.AUTO}
    sequential = leaf.dim() == 3 if leaf.dtype.is_floating_point else leaf.dim() == 2
    if SEQUENCE in wish and sequential and leaf.shape[1] > 1:
        dims[1] = Dim.AUTO
    return dims


def _input_spec(name: str, value: Tensor, symbols: dict[str, str]) -> TensorSpec:
    """Names the symbols that inputs introduce: `batch` for dimension 0, `sequence` for dimension 1."""
    sizes: tuple[Any, ...] = tuple(value.shape)
    for index, size in enumerate(sizes):
        symbol = str(size)
        if isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None and symbol not in symbols:
            word = BATCH if index == 0 else SEQUENCE
            symbols[symbol] = word if index == 0 or word not in symbols.values() else f"{name}.{word}"
    return _spec(name, value, symbols)


def _spec(name: str, value: Tensor, symbols: Mapping[str, str]) -> TensorSpec:
    def dimension(size: Any) -> int | str:
        fixed = size if isinstance(size, int) else size.node.maybe_as_int()
        if fixed is not None:
            return int(fixed)
        return re.sub(r"[su]\d+", lambda match: symbols.get(match[0], match[0]), str(size))

    return TensorSpec(name, value.dtype, tuple(dimension(size) for size in value.shape))


def _output_names(exported: ExportedProgram, count: int) -> list[str]:
    names = flat_names(pytree.tree_unflatten(list(range(count)), exported.call_spec.out_spec))
    unique = len(set(names)) == count
    return names if unique else [f"output_{i}" for i in range(count)]


def _is_dynamic(program: Program, name: str) -> bool:
    return any(name in spec.shape for spec in program.inputs)


def _widened(model: nn.Module, inputs: _Inputs) -> _Inputs:
    """The same inputs with a batch of two where they had one, if the model accepts that."""
    if _batch_of(inputs) != 1:
        return inputs
    doubled: _Inputs = pytree.tree_map(lambda t: torch.cat([t, t]) if isinstance(t, Tensor) and t.dim() else t, inputs)
    with contextlib.suppress(Exception), torch.no_grad():
        model(*doubled[0], **doubled[1])
        return doubled
    return inputs


def _batch_of(inputs: _Inputs) -> int | None:
    """The size that dimension 0 of every input shares, if it does."""
    sizes = {leaf.shape[0] for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def _eager(model: nn.Module, inputs: _Inputs) -> Any:
    try:
        with torch.no_grad():
            return model(*inputs[0], **inputs[1])
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor))
        raise InputError(
            f"the model rejects inputs of shape {shapes}: {_first_line(error)}",
            where=_user_line(error),
            way_out="Give the shape that it takes with --input 1x3x224x224, or real inputs with --data.",
        ) from error


def _agree(model: nn.Module, inputs: _Inputs, program: Program) -> None:
    """The captured graph computes what the model does on the example."""
    eager = [leaf for leaf in pytree.tree_leaves(_eager(model, inputs)) if isinstance(leaf, Tensor)]
    for spec, ours, theirs in zip(program.outputs, program.run().values(), eager, strict=True):
        if not torch.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            raise CaptureError(
                f"the captured graph disagrees with the model on output {spec.name!r}",
                way_out="The model keeps state or draws random numbers between calls; make its forward pure.",
            )


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _user_line(error: BaseException) -> str:
    """`file:line` of the innermost frame that belongs neither to torch nor to this project."""
    ours = Path(__file__).resolve().parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "torch" not in path.parts and ours not in path.resolve().parents and path.exists():
            return f"{path.name}:{frame.lineno}" + (f" `{frame.line}`" if frame.line else "")
    return ""


def _capture_error(error: Exception | None) -> CaptureError:
    text = _first_line(error) if error else "no capture was tried"
    dependent = error is not None and _depends_on_data(error)
    return CaptureError(
        f"control flow depends on data: {text}" if dependent else f"cannot be captured as a graph: {text}",
        where=_user_line(error) if error else "",
        way_out="Rewrite the branch with torch.where or torch.cond, or export the part without it."
        if dependent
        else "See the line above; torch.export must be able to trace the model's forward.",
    )


def _depends_on_data(error: Exception) -> bool:
    return "data-dependent" in str(error) or type(error).__name__ == "GuardOnDataDependentSymNode"
