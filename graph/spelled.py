"""`**kwargs` spelled out while a model is exported.

    forward(a, **kw) called with b=…   →   forward(a, *, b)

torch.export cannot give shapes to what `**kw` collects: it binds the call in two ways that disagree.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

__all__ = ["replaced", "spelled"]


@contextlib.contextmanager
def replaced(model: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, calling the model calls this instead of its own `forward`; parameters keep their names."""
    own = model.__dict__.get("forward")
    setattr(model, "forward", forward)  # noqa: B010  an instance's own, not the class's
    try:
        yield
    finally:
        if own is None:
            del model.__dict__["forward"]
        else:
            setattr(model, "forward", own)  # noqa: B010


@contextlib.contextmanager
def spelled(model: nn.Module, keywords: Iterable[str]) -> Iterator[None]:
    """Inside, the forward's signature names these keywords wherever it would collect them."""
    forward = model.forward
    signature = inspect.signature(forward)
    parameters = signature.parameters.values()
    extra = [name for name in keywords if name not in signature.parameters]
    if not extra or not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        yield
        return

    @functools.wraps(forward)
    def explicit(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    named = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    named += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
    explicit.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    with replaced(model, explicit):
        yield
