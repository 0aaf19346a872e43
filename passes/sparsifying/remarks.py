"""What zeros are worth on a target, in sentences: time where its runtime makes use of them, bytes nowhere yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from compressor.graph.program import Program
from compressor.graph.signature import dtype_name
from compressor.passes.sparsifying.layers import Layer
from compressor.passes.sparsifying.pattern import Pattern
from compressor.targets.target import Target

__all__ = ["remarks", "weights_of"]

BYTES = "the file does not shrink until it is packed: zeros are stored like other numbers"
_FORMATS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def remarks(done: Iterable[tuple[Pattern, int]], target: Target, format: str) -> tuple[str, ...]:
    """One sentence for each pattern about time, and one about bytes.

    `done` has a layer's pattern and its inputs or outputs, whichever are fewer; `format` is what the weights are in.
    """
    widths: dict[Pattern, list[int]] = {}
    for pattern, width in done:
        widths.setdefault(pattern, []).append(width)
    found = [_time(pattern, given, target, format) for pattern, given in widths.items()]
    return (*found, BYTES) if found else ()


def weights_of(program: Program, layers: Iterable[Layer]) -> str:
    """The format that most of these layers are in."""
    found = Counter(dtype_name(program.get(layer.weights[0]).dtype) for layer in layers)
    return _FORMATS.get(found.most_common(1)[0][0], "fp32") if found else "fp32"


def _time(pattern: Pattern, widths: Sequence[int], target: Target, format: str) -> str:
    name = f"{target.providers[0].name} on {target.name}" if target.providers else target.name
    for offer in target.sparsity:
        if pattern.text == offer.pattern:
            formats = " or ".join(offer.formats)
            gain = (
                f"{name} runs layers of {offer.width} channels and more up to {offer.speedup:g}× as fast in {formats}"
            )
            wide = sum(width >= offer.width for width in widths)
            if not wide:
                return f"{pattern.text} saves no time here: {gain}, and none of these is so wide"
            then = "" if format in offer.formats else f"; they are {format} now: let {formats} follow"
            return f"{pattern.text} saves time: {gain}, {wide} of these {len(widths)}{then}"
    instead = f"; it makes use of {' and '.join(offer.pattern for offer in target.sparsity)}" if target.sparsity else ""
    return f"{pattern.text} saves no time: {name} multiplies these zeros like other numbers{instead}"
