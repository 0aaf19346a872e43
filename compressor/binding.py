"""How named tensors reach a model's `forward`: its signature, and flat dotted names put back into containers.

{"x": t, "d.a": u, "d.b.0": v}  →  x=t, d={"a": u, "b": [v]}
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EXTRA", "Signature", "bind", "nest", "signature_of", "suggest_input"]

EXTRA = "*"  # prefix of the names that stand for members of `*args`


@dataclass(frozen=True)
class Signature:
    """What `forward` takes. `keywords` and `extras` say that it also takes `**kwargs` and `*args`."""

    positional: tuple[str, ...]
    keyword_only: tuple[str, ...]
    required: tuple[str, ...]
    keywords: bool = False
    extras: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return self.positional + self.keyword_only


def signature_of(module: nn.Module) -> Signature:
    """The signature of a module's `forward`, of a TorchScript one too."""
    schema = getattr(module.forward, "schema", None)
    if schema is not None:
        arguments = [argument for argument in schema.arguments if argument.name != "self"]
        required = tuple(a.name for a in arguments if not a.has_default_value())
        return Signature(tuple(a.name for a in arguments), (), required)
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = inspect.Parameter
    named = [p for p in parameters if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    return Signature(
        tuple(p.name for p in named if p.kind is not kinds.KEYWORD_ONLY),
        tuple(p.name for p in named if p.kind is kinds.KEYWORD_ONLY),
        tuple(p.name for p in named if p.default is kinds.empty),
        any(p.kind is kinds.VAR_KEYWORD for p in parameters),
        any(p.kind is kinds.VAR_POSITIONAL for p in parameters),
    )


def bind(module: nn.Module, flat: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` for `module` from values by dotted name; the leading parameters go by position.

    Raises InputError for a name that `forward` does not take, and for a required one that is missing.
    """
    signature = signature_of(module)
    extras = tuple(value for name, value in flat.items() if name.startswith(EXTRA))
    given = nest({name: value for name, value in flat.items() if not name.startswith(EXTRA)})
    unknown = [] if signature.keywords else [name for name in given if name not in signature.names]
    if unknown:
        hint = did_you_mean(unknown[0], list(signature.names)) if signature.names else "It takes no named inputs."
        raise InputError(f"the model has no input {unknown[0]!r}", way_out=hint)
    missing = [name for name in signature.required if name not in given]
    if missing:
        raise InputError(
            f"no value for the model's input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}",
            way_out=f"The model takes {', '.join(signature.names)}; name one with --input {missing[0]}=1x3x224x224.",
        )
    args: list[Any] = []
    for name in signature.positional:
        if name not in given:
            break
        args.append(given.pop(name))
    return (*args, *extras), given


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested dicts; a level whose keys are 0, 1, … is a list.

    Raises InputError when one name is both a value and a container.
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        level: Any = tree
        for part in path:
            level = level.setdefault(part, _Level())
            if not isinstance(level, _Level):
                raise InputError(f"input {name!r} lies inside {part!r}, which is given as a tensor")
        if leaf in level:
            raise InputError(f"input {name!r} is given twice, as a tensor and as a container")
        level[leaf] = value
    return {name: _closed(value) for name, value in tree.items()}


class _Level(dict[str, Any]):
    """A container under construction, told apart from a dict that is a value."""


def _closed(value: Any) -> Any:
    if not isinstance(value, _Level):
        return value
    if set(value) == {str(i) for i in range(len(value))}:
        return [_closed(value[str(i)]) for i in range(len(value))]
    return {key: _closed(member) for key, member in value.items()}


def suggest_input(module: nn.Module) -> str:
    """A concrete `--input …` for this model, read off its first layer and its first parameter's name."""
    signature = signature_of(module)
    name = next(iter(signature.required or signature.names), "")
    prefix = f"{name}=" if len(signature.required) > 1 or (name and not signature.required) else ""
    for layer in module.modules():
        weight = getattr(layer, "weight", getattr(layer, "weight_ih_l0", None))
        if weight is None or weight.dim() < 2:
            continue
        kind = str(getattr(layer, "original_name", type(layer).__name__))
        if kind.startswith("Embedding"):
            return f"--input {name}=1x128:int64" if name else "--input 1x128:int64"
        if weight.dim() == 2:
            recurrent = getattr(layer, "weight", None) is None
            return f"--input {prefix}1x{'32x' if recurrent else ''}{weight.shape[1]}"
        transposed = "Transpose" in kind
        channels = weight.shape[0] if transposed else weight.shape[1] * getattr(layer, "groups", 1)
        side = {1: 28, 3: 224}.get(channels, 32)
        size = {3: "128", 4: f"{side}x{side}", 5: "16x112x112"}.get(weight.dim(), "32")
        return f"--input {prefix}1x{channels}x{size}"
    return f"--input {prefix}1x3x224x224"
