"""From a loaded model and inputs to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compressor.errors import CaptureError, InputError
from compressor.load.loaded import Loaded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.graph.capture import Captured
    from compressor.graph.program import Program

__all__ = ["to_program"]

_WINDOW = 256  # places of a cache that an example, and the golden vectors, are long enough to show


def to_program(
    loaded: Loaded, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, synthetic: bool,
    kv_cache: bool = False,
) -> Captured:  # fmt: skip
    """Capture or convert the model with these inputs, or with the file's own where none are given.

    `synthetic` says that the inputs were made up. With `kv_cache` a causal language model gets its key–value cache as
    inputs and outputs; where it has one that cannot be that, a note says why. Raises CaptureError or InputError when
    model and inputs do not fit.
    """
    from compressor.graph.capture import Captured

    kwargs = dict(kwargs or {})
    if loaded.program is not None:
        if not args and not kwargs:
            return Captured(loaded.program, ())
        return Captured(_with_example(loaded.program, args, kwargs, synthetic=synthetic), ())
    if not args and not kwargs and loaded.example is not None:
        args, kwargs = loaded.example
    if kv_cache and loaded.module is not None:
        return _with_cache(loaded, loaded.module, args, kwargs, synthetic)
    return _plainly(loaded, args, kwargs, synthetic)


def _plainly(
    loaded: Loaded, args: Sequence[Any], kwargs: Mapping[str, Any], synthetic: bool, **options: Any
) -> Captured:  # fmt: skip
    from compressor.graph.capture import capture

    if loaded.convert is not None:
        return loaded.convert(args, kwargs, synthetic, **options)
    if loaded.module is None:
        raise InputError(f"{loaded.name} holds no model", way_out="Load it again with load_model.")
    return capture(loaded.module, args, kwargs, synthetic=synthetic, **options)


def _with_cache(
    loaded: Loaded, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], synthetic: bool
) -> Captured:  # fmt: skip
    """A decoder with its cache, anything else as it is; also a decoder whose lengths do not stay dynamic with one."""
    from compressor.graph.decoder import LEAST
    from compressor.graph.kv_cache import least_of

    try:
        captured, window = _cached(loaded, model, args, kwargs, synthetic, LEAST)
        if window is not None:  # a text that does not fit into it shows how the cache is cut
            if window > _WINDOW:
                raise CaptureError(f"its cache is cut to the last {window} places, too many to show in an example")
            captured, window = _cached(loaded, model, args, kwargs, synthetic, least_of(window))
            if window is not None:
                raise CaptureError(f"its cache is cut to {window} places in a way that the graph does not follow")
        return captured if captured is not None else _plainly(loaded, args, kwargs, synthetic)
    except CaptureError as error:
        captured = _plainly(loaded, args, kwargs, synthetic)
        return replace(captured, notes=(*captured.notes, f"captured without a key–value cache: {error.what}"))


def _cached(
    loaded: Loaded, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], synthetic: bool, least: int
) -> tuple[Captured | None, int | None]:  # fmt: skip
    """A decoder with its cache, from an example of `least` places, None for anything else; and the window that its
    cache is cut to where that example did not show it."""
    from compressor.graph.decoder import decoder_of
    from compressor.graph.spelled import replaced

    decoder = decoder_of(model, args, kwargs, least=least)
    if decoder is None:
        return None, None
    with replaced(model, decoder.forward):
        captured = _plainly(loaded, (), decoder.kwargs, synthetic, growing=decoder.growing)
    decoder.check(captured.program)
    return captured, None if captured.longest is None else decoder.window(captured.program, captured.longest)


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
