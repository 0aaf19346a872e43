"""The board that options are carried out for when they are weighed, so that what was weighed holds for other boards.

    widths on multiples of 8, or of more where the board wants that        eight bits: unsigned inputs, 7 bits a weight

Boards whose integer kernels differ in signs, zero points or a bit of the weights differ little in what eight bits do
to the outputs: the one of fewest bits stands for all. What a board cannot run is not offered for it (`menu.py`), and
what is made in the end is made for the board itself.
"""

from __future__ import annotations

from dataclasses import replace

from compressor.targets.target import Provider, Target
from compressor.targets.tvm import TVM

__all__ = ["common"]

WIDTHS = 8


def common(target: Target) -> Target:
    """The same for all targets of one kind of runtime that run integers, want widths and profit from zeros alike."""
    integers = bool(target.activations)
    provider = Provider(
        "CPUExecutionProvider", ("fp32", "fp16", *(("int8",) if integers else ())), ("*",), "uint8" if integers else "",
        "what most boards run", sparsity=target.sparsity, saturates=integers,
    )  # fmt: skip
    name = target.runtime.name if target.runtime.name == TVM else "onnxruntime"
    return replace(
        target, providers=(provider,), runtime=replace(target.runtime, name=name),
        width_multiple=max(WIDTHS, target.width_multiple),
    )  # fmt: skip
