"""TorchScript to a program, in this process, by torch's private `TS2EPConverter`. Only here is it touched.

    torch.jit.load ─ TS2EPConverter ─▶ fx graph ─ parameters, convolutions, sizes mended ─ capture ─▶ Program

The converter takes every argument of `forward`, gives all weights as buffers, loses module paths and cannot convert
loops. What it made is compared with the TorchScript on the inputs and on a larger batch: it follows one side of a
branch on a shape silently.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressor.errors import CaptureError, CompressError, InputError, LoadError
from compressor.graph.capture import Captured, capture, widened
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.graph.signature import flat_names
from compressor.load.sizes import plain_sizes

__all__ = ["convert_script"]

_TOLERANCE = 1e-3
_WAY_OUT = "Export the original model instead: torch.export.save(torch.export.export(model, inputs), path)."


def convert_script(path: Path, args: Sequence[Any], kwargs: Mapping[str, Any], *, synthetic: bool = False) -> Captured:
    """Load the file, which executes its code, and convert it with these inputs.

    Raises LoadError when it is damaged, InputError when it rejects the inputs, CaptureError when it cannot be
    converted, with the operator that stood in the way.
    """
    script = _loaded(path)
    bound = _bound(script, args, kwargs, str(path))
    inputs, _ = widened(script, (tuple(bound.values()), {}))
    expected = _run(script, inputs, str(path))
    module = _converted(script, inputs, str(path))
    _promote(module, [name for name, _ in script.named_parameters()])
    _normalize(module.graph)
    plain_sizes(module)
    module.recompile()
    captured = capture(module, inputs, synthetic=synthetic)
    if not (_agrees(captured.program, inputs, expected) and _agrees_on_larger_batch(script, captured.program, inputs)):
        captured = capture(module, inputs, synthetic=synthetic, static=True)
        if not _agrees(captured.program, inputs, expected):
            raise CaptureError("the converted graph disagrees with the TorchScript", where=str(path), way_out=_WAY_OUT)
        captured = Captured(captured.program, ("batch fixed: the TorchScript branches on a shape",))
    return Captured(_renamed(captured.program, dict(zip(bound, inputs, strict=True))), captured.notes)


def _loaded(path: Path) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*torch\.jit\.load", DeprecationWarning)
            script: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # the reader raises many types on a damaged file
        raise LoadError(
            f"is damaged TorchScript: {_last_line(error)}", where=str(path), way_out="Copy it or save it again."
        ) from error
    return script.eval()


def _bound(
    script: torch.jit.ScriptModule, args: Sequence[Any], kwargs: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Every argument of `forward` by name, defaults filled in."""
    method: Any = script.forward
    arguments = method.schema.arguments[1:]
    names = [argument.name for argument in arguments]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    unknown = [name for name in given if name not in names]
    if unknown or len(args) > len(names):
        raise InputError(f"has no input {unknown[0]!r}" if unknown else f"takes {len(names)} inputs, got {len(args)}",
                         where=where, way_out=f"Its inputs are {', '.join(names)}.")  # fmt: skip
    for argument in arguments:
        if argument.name not in given and not argument.has_default_value():
            raise InputError(
                f"no value for input {argument.name!r}",
                where=where,
                way_out=f"TorchScript does not tell its shapes: pass --input {argument.name}=1x3x224x224 or --data.",
            )
        given.setdefault(argument.name, argument.default_value)
    return {name: given[name] for name in names}


def _run(script: torch.jit.ScriptModule, inputs: tuple[Any, ...], where: str) -> list[Tensor]:
    try:
        with torch.no_grad():
            result = script(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in inputs if isinstance(leaf, Tensor))
        raise InputError(
            f"the model rejects inputs of shape {shapes}: {_last_line(error)}",
            where=where,
            way_out="Give the shape that it takes with --input 1x3x224x224, or real inputs with --data.",
        ) from error
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def _converted(script: torch.jit.ScriptModule, inputs: tuple[Any, ...], where: str) -> fx.GraphModule:
    from torch._export.converter import TS2EPConverter

    try:
        with quiet():
            exported = TS2EPConverter(script, inputs).convert()
            nested = exported.module(check_guards=False)
    except Exception as error:
        raise CaptureError(
            f"cannot be converted from TorchScript: {_last_line(error)}", where=where, way_out=_WAY_OUT
        ) from error
    return fx.GraphModule(nested, nested.graph)  # a plain one: the exported module refuses eval()


def _promote(module: fx.GraphModule, names: Sequence[str]) -> None:
    """Buffers that were parameters become parameters again; of a frozen module, all weights among its constants."""
    buffers = dict(module.named_buffers())
    frozen = [name for name, value in buffers.items() if value.is_floating_point() and value.dim() > 0]
    for name in names or frozen:
        if name in buffers:
            owner, _, leaf = name.rpartition(".")
            parent = module.get_submodule(owner)
            delattr(parent, leaf)
            parent.register_parameter(leaf, nn.Parameter(buffers[name].detach(), requires_grad=False))


def _normalize(graph: fx.Graph) -> None:
    """`convolution(…, transposed, output_padding, groups)` as the operator that eager code would have called."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.convolution.default:
            x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args
            rank = len(stride)
            if transposed:
                node.target = getattr(torch.ops.aten, f"conv_transpose{rank}d").input
                node.args = (x, weight, bias, stride, padding, output_padding, groups, dilation)
            else:
                node.target = getattr(torch.ops.aten, f"conv{rank}d").default
                node.args = (x, weight, bias, stride, padding, dilation, groups)


def _agrees(program: Program, inputs: tuple[Any, ...], expected: Sequence[Tensor]) -> bool:
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    try:
        actual = program.run(leaves).values()
    except (CompressError, RuntimeError):
        return False
    return len(actual) == len(expected) and all(
        ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for ours, theirs in zip(actual, expected, strict=True)
    )


def _agrees_on_larger_batch(script: torch.jit.ScriptModule, program: Program, inputs: tuple[Any, ...]) -> bool:
    """A dynamic batch holds for four times the batch, too."""
    if not any(spec.shape and spec.shape[0] == "batch" for spec in program.inputs):
        return True
    larger = pytree.tree_map(lambda t: torch.cat([t] * 4) if isinstance(t, Tensor) and t.dim() else t, inputs)
    try:
        expected = _run(script, larger, "")
    except InputError:
        return False
    return _agrees(program, larger, expected)


def _renamed(program: Program, bound: Mapping[str, Any]) -> Program:
    """Inputs under the names that the TorchScript gives them; the converter adds numbers."""
    tensors = [isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(dict(bound))]
    names = [name for name, kept in zip(flat_names(dict(bound), "input"), tensors, strict=True) if kept]
    if len(names) != len(program.inputs):
        return program
    return replace(
        program, inputs=tuple(replace(spec, name=name) for spec, name in zip(program.inputs, names, strict=True))
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
