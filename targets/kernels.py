"""Which kernels multiply by weights in blocks: the runtime's own, or ours in a library of operators beside the model.

The library is machine code for the board's processor. Where another processor computes (a GPU,
an NPU, a browser), or a runtime that compiles all of the network, there is no place for it.
"""

from __future__ import annotations

import sys

from compressor.errors import TargetError
from compressor.targets.machine import this_machine
from compressor.targets.target import Target
from compressor.targets.tvm import TVM

__all__ = ["CUSTOM_OP", "KERNELS", "PORTABLE", "check_kernels"]

PORTABLE, CUSTOM_OP = "portable", "custom-op"
KERNELS = (PORTABLE, CUSTOM_OP)  # as --kernels spells them
_SYSTEM = "-linux-gnu"
_LEAST = {"x86_64": {"avx2", "fma"}, "aarch64": {"asimd"}}  # of what has kernels, as Linux names it
_OLDEST = (1, 18)  # the first ONNX Runtime that has all that an operator asks of it
_WHERE, _WAY_OUT = "--kernels custom-op", "Leave --kernels out: ONNX Runtime's own kernels run on every board."


def check_kernels(target: Target, kernels: str | None) -> None:
    """Raises TargetError where the kernels that were asked for cannot be had on the target, or are none that we have.
    None stands for portable ones."""
    if kernels not in (None, *KERNELS):
        raise TargetError(
            f"no kernels are called {kernels!r}", where="--kernels", way_out="Write portable or custom-op."
        )
    if kernels == CUSTOM_OP and (reason := _refusal(target)):
        raise TargetError(reason, where=_WHERE, way_out=_WAY_OUT)


def _refusal(target: Target) -> str:
    """Why there can be no library of operators, or ""."""
    runtime = target.runtime
    if runtime.name == TVM:
        return "--runtime tvm has these kernels already; a library of operators is for ONNX Runtime"
    if not target.on_cpu:
        return f"the library computes on the processor, and {target.name} on {target.providers[0].name}"
    if target.compiler is None and not target.is_host:
        return f"nothing says what a compiler makes code for on {target.name}: its file has no [compiler]"
    if target.compiler is not None and not target.compiler.triple.endswith(_SYSTEM):
        return f"libraries of operators are made for Linux so far, and {target.name} is {target.compiler.triple}"
    if _version(runtime.version) < _OLDEST:
        return f"{runtime.name} {runtime.version} is older than 1.18, which libraries of operators need"
    if sys.platform != "linux":
        return "libraries of operators are made on Linux so far"
    here = this_machine()
    if target.is_host and not here.features >= _LEAST.get(here.arch, {"none"}):
        return f"there are no kernels for this processor ({here.cpu})"
    return ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
