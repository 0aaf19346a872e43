"""The user's training function, and the network that it is given.

    def fn(model):                      # called once an epoch
        for x, y in loader:
            yield loss(model(x), y)     # one optimizer step each: no backward(), no step(), no optimizer

`model` is a module in training mode whose inputs are the original's, by position or by name; it returns the original's
output, or a named tuple where there are several. Its parameters may lie on a GPU: inputs are brought there, and
outputs back to where the inputs were. `model.eval()` lets it compute as deployed. When the function ends before the
steps are done it is called again; one that never ends is as good.
"""

from __future__ import annotations

import math
import traceback
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CompressError, InputError
from compressor.graph.program import Program

__all__ = ["Pupil", "backward", "losses"]

CONTRACT = "fn(model) yields the loss of each step: `for x, y in loader: yield loss(model(x), y)`."
WHERE = "--train"


class Pupil(nn.Module):
    """What the user's function calls: the program in training mode, or as deployed after `eval()`."""

    def __init__(self, program: Program, training: fx.GraphModule, plain: fx.GraphModule) -> None:
        super().__init__()
        self.network = training
        self.graphs = {True: training, False: plain}
        self.names = [spec.name for spec in program.inputs]
        fields = [spec.name for spec in program.outputs]
        self.outputs: Any = None if len(fields) == 1 else namedtuple("Outputs", fields, rename=True)

    def train(self, mode: bool = True) -> Pupil:
        self.training = mode
        return self

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        given = dict(zip(self.names, args, strict=False)) | kwargs
        if len(args) > len(self.names) or set(given) != set(self.names):
            raise InputError(
                f"the model was called with {len(args)} inputs and {sorted(kwargs)}", where=WHERE,
                way_out=f"It takes {', '.join(self.names)}.",
            )  # fmt: skip
        home, device = given[self.names[0]].device, next(self.network.parameters()).device
        found = self.graphs[self.training](*(given[name].to(device) for name in self.names))
        moved = [value.to(home) for value in found]
        return moved[0] if self.outputs is None else self.outputs(*moved)


def losses(function: Callable[..., object] | None, model: Pupil) -> Iterator[Tensor]:
    """The losses that the user's function yields, without end; it is called again when it ends.

    Raises InputError where there is no function, where it raises, and for what is no loss.
    """
    if function is None:
        raise InputError(
            "how=dhspg trains the network with your own function, and none is given", where="prune",
            way_out=f"Add --train file.py:fn; {CONTRACT}",
        )  # fmt: skip
    step = 0
    while True:
        began = step
        for loss in _called(function, model):
            step += 1
            yield _checked(loss, step)
        if step == began:
            raise InputError("the function yields nothing", where=WHERE, way_out=CONTRACT)


def backward(loss: Tensor, parameters: Iterable[Tensor]) -> None:
    """Take the gradients. Raises InputError where the function took them already, or none reaches the parameters."""
    try:
        torch.autograd.backward(loss)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise InputError(
            f"the loss has no gradients to take: {line}", where=WHERE,
            way_out="Yield it as it was computed, without backward(), step() or no_grad().",
        ) from error  # fmt: skip
    if all(parameter.grad is None for parameter in parameters):
        what = "the loss does not depend on the model that the function is given"
        raise InputError(what, where=WHERE, way_out=CONTRACT)


def _called(function: Callable[..., object], model: Pupil) -> Iterator[object]:
    """What one call of the function yields; its errors name it."""
    try:
        model.train()
        found = function(model)
        if not hasattr(found, "__iter__") or isinstance(found, Tensor):
            raise InputError(f"the function returned {type(found).__name__}", where=WHERE, way_out=CONTRACT)
        yield from found
    except CompressError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"the function failed: {type(error).__name__}: {line}", where=f"{WHERE}{_place(function, error)}",
            way_out=CONTRACT,
        ) from error  # fmt: skip


def _place(function: Callable[..., object], error: Exception) -> str:
    """The last line of the function's own file on the way to an error."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" {Path(str(file)).name}:{lines[-1]}" if lines else ""


def _checked(loss: object, step: int) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InputError(f"step {step} yields {kind}, not a loss", where=WHERE, way_out=CONTRACT)
    if not math.isfinite(value := float(loss.detach())):
        raise InputError(f"the loss of step {step} is {value}", where=WHERE, way_out="Lower prune's rate.")
    return loss.reshape(())
