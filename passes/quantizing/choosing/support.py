"""Whether a target's runtime multiplies by weights in blocks (com.microsoft.MatMulNBits) and reads tables in them
(GatherBlockQuantized), and whether that is faster.

Of ONNX Runtime only the CPU kernels are counted on; with TVM, of whatever version, our own. On a board whose preferred
provider is another processor's (TensorRT, CoreML) every such product would leave it for the CPU, with a copy each way,
so the format is declined there.
"""

from __future__ import annotations

from compressor.graph.contract import Setting
from compressor.quant.blocks import BLOCK_FORMATS
from compressor.targets.target import Target
from compressor.targets.tvm import TVM

__all__ = ["block_setting", "refusal", "slow_note"]

# By bits, tried but for the first. Four with a bias: onnxruntime pull request 20587. Two: 1.23.2 refuses them, 1.24.2
# runs them (in float up to 1.27, in integers from 1.28 on). Tables as bytes: 4 bits from 1.23 on, 2 from 1.27.
_SINCE = {"MatMulNBits": {4: (1, 19), 2: (1, 24)}, "GatherBlockQuantized": {4: (1, 23), 2: (1, 27)}}


def refusal(target: Target, format: str, kind: str = "linear") -> str:
    """Why the target cannot have the format for a kind of layer; empty where it can."""
    operator, what = ("GatherBlockQuantized", "table") if kind == "embedding" else ("MatMulNBits", "product")
    runtime, since = target.runtime, _SINCE[operator][BLOCK_FORMATS[format].stored_bits]
    preferred = target.providers[0].name if target.providers else runtime.name
    if not target.on_cpu:
        return f"{preferred} has no {operator}, so every {format} {what} would leave it for the CPU"
    if not any(provider.runs(operator) for provider in target.providers):
        return f"{preferred} of {target.name} does not list {operator}"
    if runtime.name != TVM and _version(runtime.version) < since:
        return f"{runtime.name} {runtime.version} has no {format} {what}; {'.'.join(map(str, since))} is the first"
    return ""


def slow_note(target: Target, format: str) -> str:
    """A sentence for where the format buys size and costs time, as counted and measured; empty elsewhere.

    Arm: two bits take 1.6 times fp32's instructions on a Cortex-A76, and cores without dotprod lose with any width.
    In a browser's WebAssembly both take some five times as long as fp32. TVM's
    kernels are ours.
    """
    if target.runtime.name == TVM:
        return ""
    arm = target.arch in ("aarch64", "armv7l")
    slow = target.arch == "wasm32" or (arm and (BLOCK_FORMATS[format].stored_bits == 2 or not _has_integers(target)))
    if not slow:
        return ""
    return (
        f"{format} products cost more time than fp32 with {target.runtime.name} on {target.name}: they buy size alone"
    )


def block_setting(target: Target, format: str, block: int, kind: str = "linear") -> Setting:
    """The setting of a layer: activations in int8 where the target multiplies those faster, as its rates say."""
    setting: dict[str, str | int] = {"format": format, "block": block}
    if kind != "embedding" and _has_integers(target):
        setting["activation"] = "int8"
    return setting


def _has_integers(target: Target) -> bool:
    """Whether integers are multiplied faster; with TVM, wherever there are kernels of ours."""
    if target.runtime.name == TVM:
        return bool(target.activations)
    return target.rate("int8") > target.rate("fp32")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
