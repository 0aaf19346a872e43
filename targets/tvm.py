"""A board with TVM in place of its own runtime: the network becomes machine code for the board's processor.

No execution provider is asked for then: what TVM takes, it compiles all of. Products, convolutions and attention go
through kernels of our own (`export/kernels/`), where the processor has one of their instruction sets; a GPU computes
all in float32. What the code is made for stands in the board's file, under `[compiler]`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

from compressor.errors import TargetError
from compressor.targets.machine import this_machine
from compressor.targets.target import Provider, Runtime, Target

__all__ = ["BOTH", "RUNTIMES", "TVM", "with_runtime"]

TVM, BOTH = "tvm", "both"
RUNTIMES = ("onnx", TVM, BOTH)  # as --runtime spells them
_LEAST = {"x86_64": {"avx2", "fma"}, "aarch64": {"asimd"}}  # by architecture, what this machine needs for kernels
_VNNI = {"avx512_vnni", "avx_vnni"}
_BLOCKS = ("MatMulNBits", "GatherBlockQuantized")  # as ONNX Runtime calls products and tables in blocks
_HALF = "fp16"
_SOURCE = (
    "export/kernels/ for products, convolutions and attention; relax's pipeline, without tuned schedules, for the rest"
)


def with_runtime(target: Target, runtime: str | None) -> Target:
    """The target with the runtime that was asked for; None and "onnx" leave its own, and so does "both": what is made
    for that one is compiled besides, so that its default passes are in formats of both.

    Raises TargetError where TVM is not installed here, or nothing says what it is to compile for.
    """
    if runtime not in (None, *RUNTIMES):
        raise TargetError(f"no runtime is called {runtime!r}", where="--runtime", way_out="Write onnx, tvm or both.")
    if runtime not in (TVM, BOTH):
        return target
    compiled = _compiled(target)
    if runtime == TVM:
        return compiled
    return replace(target, passes=compiled.passes) if _HALF in target.passes else target  # which TVM computes none of


def _compiled(target: Target) -> Target:
    formats = tuple(name for name in _formats(target) if name in target.rates)
    try:
        version = metadata.version("apache-tvm")
    except metadata.PackageNotFoundError as error:
        raise TargetError(
            "apache-tvm is not installed here", where="--runtime tvm", way_out='pip install "edge-compressor[tvm]"'
        ) from error
    kernels = "int8" in formats
    name = "TVM-CUDA" if target.compiler is not None and target.compiler.cuda else "TVM-CPU"
    return replace(
        target,
        runtime=Runtime(
            TVM, version, 0, "what is installed here", "libtvm_runtime.so and libtvm_ffi.so of that version"
        ),
        providers=(Provider(name, formats, _BLOCKS * kernels, _activations(target) * kernels, _SOURCE),),
        optional_providers=(),
        rates={format: target.rates[format] for format in formats},
        passes="fold",
        passes_with_data="fold,int8" if kernels else "fold",
    )


def _activations(target: Target) -> str:
    """Bytes that the processor's products take: VNNI's are unsigned."""
    return "uint8" if target.is_host and this_machine().features & _VNNI else "int8"


def _formats(target: Target) -> tuple[str, ...]:
    """What the compiled code computes in. Raises TargetError for a board whose file does not tell."""
    if target.compiler is not None:
        return target.compiler.formats
    if not target.is_host:
        raise TargetError(
            f"nothing says what a compiler makes code for on {target.name}: its file has no [compiler]",
            where="--runtime tvm",
            way_out="Leave --runtime out, or copy a [compiler] table from targets/raspberry-pi-5.toml into your file.",
        )
    here = this_machine()
    if here.arch not in _LEAST:
        raise TargetError(f"there is no code for {here.arch}", where="--runtime tvm", way_out="Leave --runtime out.")
    return ("fp32", "int8") if here.features >= _LEAST[here.arch] else ("fp32",)
