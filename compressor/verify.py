"""What every pass must leave behind: a program that runs, is finite, keeps its signature, and exports."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.errors import PassError
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import PRESENT, is_past
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.shapes import infer
from compressor.graph.signature import TensorSpec

__all__ = ["relative_error", "verify"]

EXACT = 1e-4  # relative root-mean-square; what a pass that claims equivalence is held to


def verify(
    name: str, before: Program, after: Program, batch: Batch, *, exact: bool, earlier: Sequence[str] = ()
) -> None:
    """Raises PassError that names the pass, what it broke, and the passes that ran before it."""
    where = f"pass {name}" + (f" (after {', '.join(earlier)})" if earlier else "")
    if not _keeps_signature(before, after):
        raise PassError("changed the program's inputs or outputs", where=where)
    try:
        old, new = before.run(batch), after.run(batch)
        retraced = after.copy()
        infer(retraced, anew=True)
        as_exported(retraced)
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PassError(f"left a program that does not run or export: {line}", where=where) from error
    _dynamic(retraced, where)
    for output, value in new.items():
        if value.shape != old[output].shape or value.dtype != old[output].dtype:
            raise PassError(f"changed the shape or dtype of output {output!r}", where=where)
        if torch.isfinite(old[output]).all() and not torch.isfinite(value).all():
            raise PassError(f"made output {output!r} infinite or NaN", where=where)
        if exact and (error_ := relative_error(value, old[output])) > EXACT:
            raise PassError(f"claims equivalence, yet output {output!r} moved by {error_:.2g} relative", where=where)


def _keeps_signature(before: Program, after: Program) -> bool:
    """Whether inputs and outputs are the same, but for the cache of attention that went: what went in came out."""
    ours, theirs = ({_cache_name(s) for s in (*p.inputs, *p.outputs) if _is_cache(s)} for p in (after, before))
    if not ours <= theirs or (theirs and not ours):
        return False
    inputs, outputs = (
        tuple(spec for spec in specs if not _is_cache(spec) or _cache_name(spec) in ours)
        for specs in (before.inputs, before.outputs)
    )
    return (inputs, outputs) == (after.inputs, after.outputs)


def relative_error(value: Tensor, reference: Tensor) -> float:
    """‖value − reference‖ / ‖reference‖ over the finite elements of the reference; 0 when both are all zero."""
    value, reference = value.double(), reference.double()
    finite = torch.isfinite(reference)
    distance, scale = (value - reference)[finite].norm().item(), reference[finite].norm().item()
    return float(distance / scale if scale else distance)


def _is_cache(spec: TensorSpec) -> bool:
    return is_past(spec) or spec.name.startswith(f"{PRESENT}.")


def _cache_name(spec: TensorSpec) -> str:
    """What an input of a cache and the output that follows it share."""
    return spec.name.partition(".")[2]


def _dynamic(program: Program, where: str) -> None:
    """Dimensions that were dynamic still are, after all values were inferred."""
    for spec, node in zip(program.inputs, program.graph.find_nodes(op="placeholder"), strict=True):
        for want, got in zip(spec.shape, node.meta["val"].shape, strict=True):
            if isinstance(want, str) and (isinstance(got, int) or got.node.maybe_as_int() is not None):
                raise PassError(f"fixed the dynamic dimension {want!r} of input {spec.name!r} to {got}", where=where)
