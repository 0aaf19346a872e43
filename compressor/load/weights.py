"""Weights into a module: containers unwrapped, keys and shapes compared first, numbers checked after.

Training code wraps a state dict in its own ways: `{"state_dict": …}`, `module.` before each key (DataParallel),
`_orig_mod.` (torch.compile). These are taken off; any other difference is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.errors import LoadError

__all__ = ["check_finite", "load_into", "state_dict_in"]

_CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module", "weights", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_SHOWN = 5


def state_dict_in(thing: object) -> dict[str, Tensor] | None:
    """The state dict in what a file held, or None when there is none."""
    if not isinstance(thing, Mapping):
        return None
    for key in _CONTAINERS:
        if isinstance(inner := thing.get(key), Mapping) and (found := state_dict_in(inner)):
            return found
    tensors = {key: value for key, value in thing.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return tensors if tensors and 2 * len(tensors) >= len(thing) else None


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state` into `module`. Raises LoadError listing the first missing, unexpected and misshapen keys."""
    expected = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    given = _unprefixed(state, expected.keys())
    missing = [key for key in expected if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    misshapen = [
        f"{key} is {tuple(given[key].shape)}, the model's is {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    found = ((missing, "missing"), (unexpected, "unexpected"), (misshapen, "of another shape"))
    problems = [_list(keys, what) for keys, what in found if keys]
    if problems:
        raise LoadError(
            "the weights do not fit the model: " + "; ".join(problems),
            where=where,
            way_out="Pass the --model that these weights were trained with.",
        )
    try:
        module.load_state_dict(given, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise LoadError(f"the weights do not fit the model: {reason}", where=where) from error


def check_finite(parameters: Iterable[tuple[str, Tensor]], buffers: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raises LoadError naming tensors with NaN or infinite values.

    A buffer may hold minus infinity, as attention masks do; a parameter may not.
    """
    bad = [name for name, tensor in parameters if not _finite(tensor)]
    bad += [name for name, tensor in buffers if not _finite(tensor, mask=True)]
    if bad:
        raise LoadError(
            f"NaN or infinite weights in {_list(bad, 'tensors' if len(bad) > 1 else 'tensor')}",
            where=where,
            way_out="The training diverged or the file is damaged; take an earlier checkpoint.",
        )


def _finite(tensor: Tensor, *, mask: bool = False) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta:
        return True
    values = tensor.detach()
    if values.dtype.itemsize == 1:  # the 8-bit floats have no isfinite of their own
        values = values.float()
    finite = torch.isfinite(values)
    return bool((finite | (values == -torch.inf) if mask else finite).all())


def _unprefixed(state: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """The keys without a wrapper's prefix, where every key has it and the model's own do not."""
    keys, given = set(expected), dict(state)
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if given and all(key.startswith(prefix) for key in given) and not keys >= given.keys():
                given = {key.removeprefix(prefix): value for key, value in given.items()}
    return given


def _list(keys: Sequence[str], what: str) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{more})"
