"""What `torch.save` wrote: a state dict (read by the weights-only loader), or a whole pickled module (only trusted).

Unpickling calls any function that the file names. The weights-only loader calls a fixed few; a file that needs
others is refused, with their names, unless the user vouches for it with `--trust`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compressor.errors import LoadError, UntrustedError
from compressor.graph.quiet import quiet
from compressor.load.factory import build, needed
from compressor.load.loaded import Loaded
from compressor.load.weights import check_finite, load_into, state_dict_in
from compressor.userfile import importable

__all__ = ["load_checkpoint", "module_with_weights"]

_SHOWN = 5


def load_checkpoint(path: Path, factory: str | None, *, trust: bool, zipped: bool) -> Loaded:
    """A model from a file of `torch.save`; `zipped` is its format since torch 1.6.

    Raises UntrustedError when it would execute code and `trust` is false, LoadError when it is damaged or weights
    and factory do not fit.
    """
    where = str(path)
    thing = _trusted(path, where) if trust else _weights_only(path, where, zipped=zipped)
    if isinstance(thing, torch.jit.ScriptModule):
        raise LoadError("is TorchScript in an old format", where=where, way_out="Save it again with torch.jit.save.")
    if isinstance(thing, nn.Module):
        notes = ("--model was not needed: the file holds the whole model",) if factory else ()
        check_finite(thing.named_parameters(), thing.named_buffers(), where)
        return Loaded(path.stem, "pickled module", module=thing.eval(), notes=notes)
    state = state_dict_in(thing)
    if state is None:
        raise LoadError(
            f"holds {_described(thing)}, not a model or state dict",
            where=where,
            way_out="Save the weights with torch.save(model.state_dict(), path).",
        )
    if factory is None:
        raise needed(where, f"a state dict of {len(state)} tensors")
    return Loaded(path.stem, "state dict", module=module_with_weights(state, factory, where))


def module_with_weights(state: dict[str, torch.Tensor], factory: str, where: str) -> nn.Module:
    """The factory's module with these weights, in eval mode. Raises LoadError when they do not fit."""
    module = build(factory)
    load_into(module, state, where)
    check_finite(module.named_parameters(), module.named_buffers(), where)
    return module.eval()


def _weights_only(path: Path, where: str, *, zipped: bool) -> Any:
    try:
        if zipped and (globals_ := torch.serialization.get_unsafe_globals_in_checkpoint(path)):
            raise _refusal(sorted(globals_), where)
        with quiet():
            return torch.load(path, weights_only=True, map_location="cpu")
    except UntrustedError:
        raise
    except pickle.UnpicklingError as error:
        if "nsupported global" in str(error) or "WeightsUnpickler error" in str(error):
            raise _refusal([], where) from error
        raise _damaged(error, where) from error
    except Exception as error:  # a damaged pickle raises anything
        raise _damaged(error, where) from error


def _refusal(globals_: list[str], where: str) -> UntrustedError:
    more = f" and {len(globals_) - _SHOWN} more" if len(globals_) > _SHOWN else ""
    names = f" (it calls {', '.join(globals_[:_SHOWN])}{more})" if globals_ else ""
    return UntrustedError(
        f"is a pickle that runs code when it is opened{names}",
        where=where,
        way_out="Save torch.save(model.state_dict(), path) and pass --model file.py:function; "
        "or pass --trust only if you trust where the file comes from.",
    )


def _trusted(path: Path, where: str) -> Any:
    try:
        with quiet(), importable(path.parent, Path.cwd()):
            return torch.load(path, weights_only=False, map_location="cpu")
    except (ImportError, AttributeError) as error:
        raise LoadError(
            f"the pickle needs code that is not here: {error}",
            where=where,
            way_out="Put that code beside the file, run compress in its folder or set PYTHONPATH to it; "
            "or save a state dict and pass --model file.py:function.",
        ) from error
    except Exception as error:  # unpickling runs the file's own code
        raise _damaged(error, where) from error


def _damaged(error: Exception, where: str) -> LoadError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:200] if lines else type(error).__name__
    return LoadError(f"is damaged: {reason}", where=where, way_out="Copy it or save it again.")


def _described(thing: object) -> str:
    if isinstance(thing, dict):
        return f"a dict of {', '.join(map(repr, list(thing)[:3])) or 'nothing'}"
    return f"a {type(thing).__name__}"
