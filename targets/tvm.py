"""A board with TVM in place of its own runtime: the network becomes machine code for the board's processor.

No execution provider is asked for then: what TVM takes, it compiles all of. Products, convolutions and attention go
through kernels of our own (`export/kernels/`), where the processor has one of their instruction sets.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

from compressor.errors import TargetError
from compressor.targets.machine import this_machine
from compressor.targets.target import Provider, Runtime, Target

__all__ = ["RUNTIMES", "TVM", "with_runtime"]

TVM = "tvm"
RUNTIMES = ("onnx", TVM)  # as --runtime spells them
_ARCHITECTURE = "x86_64"
_EVERY_BOARD = {"avx2", "fma"}  # what code for any x86-64 board relies on, and the least that has kernels
_VNNI = {"avx512_vnni", "avx_vnni"}
_BLOCKS = ("MatMulNBits", "GatherBlockQuantized")  # as ONNX Runtime calls products and tables in blocks
_SOURCE = (
    "export/kernels/ for products, convolutions and attention; relax's pipeline, without tuned schedules, for the rest"
)


def with_runtime(target: Target, runtime: str | None) -> Target:
    """The target with the runtime that was asked for; None and "onnx" leave its own.

    Raises TargetError where TVM is not installed here, or compiles nothing yet that runs on the board's processor and
    on this machine's, which tries it.
    """
    if runtime not in (None, *RUNTIMES):
        raise TargetError(f"no runtime is called {runtime!r}", where="--runtime", way_out="Write onnx or tvm.")
    return _compiled(target) if runtime == TVM else target


def _compiled(target: Target) -> Target:
    if target.arch != _ARCHITECTURE:
        raise TargetError(
            f"TVM's artifacts are made for {_ARCHITECTURE} so far, and {target.name} is {target.arch}",
            where="--runtime tvm", way_out="Leave --runtime out: ONNX Runtime serves every board.",
        )  # fmt: skip
    here = this_machine()
    if here.arch != _ARCHITECTURE or not (target.is_host or here.features >= _EVERY_BOARD):
        raise TargetError(
            f"what is compiled for {target.name} is tried here, and this processor ({here.cpu}) cannot run it",
            where="--runtime tvm", way_out="Compress on an x86-64 machine with AVX2 and FMA.",
        )  # fmt: skip
    try:
        version = metadata.version("apache-tvm")
    except metadata.PackageNotFoundError as error:
        raise TargetError(
            "apache-tvm is not installed here", where="--runtime tvm", way_out='pip install "edge-compressor[tvm]"'
        ) from error
    kernels = not target.is_host or here.features >= _EVERY_BOARD
    quantized = kernels and "int8" in target.rates
    formats = ("fp32", "int8") if quantized else ("fp32",)
    return replace(
        target,
        runtime=Runtime(
            TVM, version, 0, "what is installed here", "libtvm_runtime.so and libtvm_ffi.so of that version"
        ),
        providers=(Provider("TVM-CPU", formats, _BLOCKS * kernels, _activations(target) * quantized, _SOURCE),),
        optional_providers=(),
        rates={format: target.rates[format] for format in formats},
        passes="fold",
        passes_with_data="fold,int8" if quantized else "fold",
    )


def _activations(target: Target) -> str:
    """Bytes that the processor's products take: VNNI's are unsigned."""
    return "uint8" if target.is_host and this_machine().features & _VNNI else "int8"
