"""Running the user's model without leaving a trace: modes, buffers and inputs are as they were before.

eval mode, no gradients, private copies of the inputs; buffers that the forward writes get their values back
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressor.errors import InputError
from compressor.graph.blame import first_line, user_line

__all__ = ["Inputs", "close", "eager", "owned", "untouched"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
TOLERANCE = 1e-3  # relative to an output's largest value; capture decomposes nothing, only reductions may reorder


def owned(inputs: Inputs) -> Inputs:
    """Copies of the tensors: each its own, so that a tensor given twice stays two inputs, and nobody writes into it."""
    copied: Inputs = pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, inputs)
    return copied


def eager(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """What the model itself returns, as a flat list of its tensors. Raises InputError when it rejects the inputs."""
    args, kwargs = owned(inputs)
    try:
        with torch.no_grad(), _restored(model):
            leaves = pytree.tree_leaves(model(*args, **kwargs))
            return [leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)]
    except Exception as error:
        shown = ", ".join(str(tuple(t.shape)) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor))
        raise InputError(
            f"the model rejects inputs of shape {shown}: {first_line(error)}",
            where=user_line(error),
            way_out="Give the shape that it takes with --input 1x3x224x224, or real inputs with --data.",
        ) from error


def close(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if not theirs.is_floating_point():
        return torch.equal(ours, theirs)
    finite = theirs[theirs.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[Callable[[], list[str]]]:
    """Eval mode inside, the modes of before outside; gives the names of buffers that were written on the way."""
    training = [module for module in model.modules() if module.training]
    written: dict[str, int] = {name: buffer._version for name, buffer in model.named_buffers()}
    model.eval()
    try:
        yield lambda: [name for name, b in model.named_buffers() if b._version != written.get(name, b._version)]
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Buffers that the body writes into get their values back."""
    before = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers() if not buffer.is_inference()]
    try:
        yield
    finally:
        for buffer, version, value in before:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)
