"""What a board is to LLVM, and whether this machine's processor runs what is compiled for it.

A board's file says it (`[compiler]`); `host`, and a board that does not tell, are this machine's own processor: an
empty triple. A processor's name is not enough for that: a hypervisor may hide some of its instructions.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from compressor.targets.target import Compiler, Target

__all__ = ["compiler_of", "features_of", "is_foreign", "is_from_wheels", "lacking_here", "llvm_of", "this_processor"]

_ORDER_OF_SUMS = ("fast-math-reassoc", "fast-math-contract", "fast-math-nsz")
_HERE = f"{platform.machine()}-{platform.system().lower()}"  # as triples begin: x86_64-linux
_COMPUTING = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "lzcnt", "popcnt", "movbe", "amx", "gfni", "vaes")
"""How LLVM's names begin of what code may compute with; others are the system's, or say how fast something is."""
_SHOWN = 3


def compiler_of(target: Target) -> Compiler:
    """What LLVM is told. TVM has to be installed, which knows this machine's processor."""
    if target.compiler is not None and not target.is_host:
        return target.compiler
    return this_processor()


def this_processor() -> Compiler:
    """What this machine computes with: its processor's name, less the instructions that are hidden from it."""
    import tvm

    cpu = str(tvm.get_global_func("target.llvm_get_system_cpu")())
    whole = Compiler("", cpu, (), "LLVM: this machine's own")
    told = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()  # None where LLVM cannot tell
    here = {str(name): bool(has) for name, has in (told or {}).items()}
    hidden = sorted(name for name in features_of(whole) if not here.get(name, True))
    return replace(whole, features=tuple(f"-{name}" for name in hidden))


def llvm_of(compiler: Compiler) -> dict[str, Any]:
    """TVM's description of the processor, with what is allowed beyond IEEE's order of operations."""
    given: dict[str, Any] = {"kind": "llvm", "mcpu": compiler.cpu}
    if compiler.triple:
        given["mtriple"] = compiler.triple
    if compiler.features:
        given["mattr"] = list(compiler.features)
    return {**given, **dict.fromkeys(_ORDER_OF_SUMS, True)}


def features_of(compiler: Compiler) -> frozenset[str]:
    """LLVM's names of the instructions that code may use."""
    import tvm

    asked = tvm.get_global_func("target.llvm_get_cpu_features")
    return frozenset(map(str, asked(tvm.target.Target(llvm_of(compiler)))))


def is_foreign(compiler: Compiler) -> bool:
    """Whether the architecture or the system is another than this machine's."""
    triple = compiler.triple
    return bool(triple) and not (triple.startswith(_HERE) and triple.endswith("-gnu"))


def is_from_wheels(compiler: Compiler) -> bool:
    """Whether the libraries that PyPI's wheels hold are all that the board needs: Linux with glibc, and no GPU."""
    return not compiler.cuda and (not compiler.triple or compiler.triple.endswith("-linux-gnu"))


def lacking_here(compiler: Compiler) -> str:
    """Why this machine's processor does not run the code, in a few words; "" where it does, or where only loading it
    can tell: TVM knows the processors, its libraries are not loaded without it, and those of operators say it then."""
    if is_foreign(compiler):
        return f"it is for {compiler.triple}, and this machine is {_HERE}"
    if find_spec("tvm") is None:
        return ""
    lacking = features_of(compiler) - features_of(this_processor())
    missing = sorted(name for name in lacking if name.startswith(_COMPUTING))
    return f"this processor has no {', '.join(missing[:_SHOWN])}" if missing else ""
