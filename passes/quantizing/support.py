"""Whether a target's runtime multiplies by weights in blocks (com.microsoft.MatMulNBits), and whether that is faster.

Only ONNX Runtime's CPU kernels are counted on. On a board whose preferred provider is another processor's (TensorRT,
CoreML) every such product would leave it for the CPU, with a copy each way, so the format is declined there.
"""

from __future__ import annotations

from compressor.graph.contract import Setting
from compressor.quant.blocks import BLOCK_FORMATS
from compressor.targets.target import Target

__all__ = ["block_setting", "refusal", "slow_note"]

# Four bits with a bias: onnxruntime pull request 20587; two bits on the CPU: 25582.
_SINCE = {4: (1, 19), 2: (1, 23)}


def refusal(target: Target, format: str) -> str:
    """Why the target cannot have the format, with the next one that it can; empty where it can."""
    runtime, since = target.runtime, _SINCE[BLOCK_FORMATS[format].stored_bits]
    preferred = target.providers[0].name if target.providers else runtime.name
    if not target.on_cpu:
        reason = f"{preferred} has no MatMulNBits, so every {format} product would leave it for the CPU"
    elif not any("*" in provider.operators for provider in target.providers):
        reason = f"{preferred} of {target.name} does not list MatMulNBits"
    elif _version(runtime.version) < since:
        reason = f"{runtime.name} {runtime.version} has no {format} product; {'.'.join(map(str, since))} is the first"
    else:
        return ""
    return f"{reason}. The next format that it runs is {_next_format(target)}"


def slow_note(target: Target, format: str) -> str:
    """A sentence for where the format buys size and costs time, as counted and measured; empty elsewhere.

    Arm: two bits take 1.6 times fp32's instructions on a Cortex-A76, and cores without dotprod lose with any width.
    In a browser's WebAssembly both take some five times as long as fp32.
    """
    arm = target.arch in ("aarch64", "armv7l")
    slow = target.arch == "wasm32" or (arm and (BLOCK_FORMATS[format].stored_bits == 2 or not _has_integers(target)))
    if not slow:
        return ""
    return (
        f"{format} products cost more time than fp32 with {target.runtime.name} on {target.name}: they buy size alone"
    )


def block_setting(target: Target, format: str, block: int) -> Setting:
    """The setting of a layer: activations in int8 where the target multiplies those faster, as its rates say."""
    setting: dict[str, str | int] = {"format": format, "block": block}
    if _has_integers(target):
        setting["activation"] = "int8"
    return setting


def _has_integers(target: Target) -> bool:
    return target.rate("int8") > target.rate("fp32")


def _next_format(target: Target) -> str:
    formats = target.providers[0].formats if target.providers else ()
    return next((name for name in ("int8", "fp16") if name in formats), "fp32")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
