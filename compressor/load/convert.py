"""From a loaded model and inputs to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compressor.errors import InputError
from compressor.load.loaded import Loaded

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.graph.capture import Captured
    from compressor.graph.program import Program

__all__ = ["to_program"]


def to_program(
    loaded: Loaded, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, synthetic: bool
) -> Captured:
    """Capture or convert the model with these inputs, or with the file's own where none are given.

    `synthetic` says that the inputs were made up. Raises CaptureError or InputError when model and inputs do not fit.
    """
    from compressor.graph.capture import Captured, capture

    kwargs = dict(kwargs or {})
    if loaded.program is not None:
        if not args and not kwargs:
            return Captured(loaded.program, ())
        return Captured(_with_example(loaded.program, args, kwargs, synthetic=synthetic), ())
    if not args and not kwargs and loaded.example is not None:
        args, kwargs = loaded.example
    if loaded.convert is not None:
        return loaded.convert(args, kwargs, synthetic)
    if loaded.module is None:
        raise InputError(f"{loaded.name} holds no model", way_out="Load it again with load_model.")
    return capture(loaded.module, args, kwargs, synthetic=synthetic)


def _with_example(program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], *, synthetic: bool) -> Program:
    """The program with another example, checked against its inputs."""
    from torch import Tensor
    from torch.utils import _pytree as pytree

    named = set(kwargs) == {spec.name for spec in program.inputs} and not args
    leaves = [leaf for leaf in pytree.tree_leaves((tuple(args), kwargs)) if isinstance(leaf, Tensor)]
    if not named and len(leaves) != len(program.inputs):
        names = ", ".join(spec.name for spec in program.inputs)
        raise InputError(f"got {len(leaves)} inputs, the model takes {len(program.inputs)}: {names}")
    example = program.flatten(kwargs if named else leaves)
    return replace(program, example=_widened(program, example), synthetic=synthetic)


def _widened(program: Program, example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A dynamic batch of one doubled, because torch.export specializes on one."""
    import torch

    batched = [bool(spec.shape) and isinstance(spec.shape[0], str) for spec in program.inputs]
    return tuple(
        torch.cat([tensor, tensor]) if dynamic and tensor.shape[0] == 1 else tensor
        for tensor, dynamic in zip(example, batched, strict=True)
    )
