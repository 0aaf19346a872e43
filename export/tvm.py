"""From a `Program` to machine code: one shared library for TVM's virtual machine, weights included.

    program ─ products of codes ─ torch.export ─ relax ─ fuse, join and order loops, plan memory
            ─ LLVM for the target's processor ─ link ─▶ model.so

Products of integers are kernels of our own (`codes.py`, `tvm_operators.py`, `kernels/`). Of the rest schedules are not
tuned: loops over elements are joined (`tvm_inline.py`), loops of sums put into an order that fits vectors
(`tvm_loops.py`), the others stay in their textbook order, all on one thread. What is allowed beyond IEEE's order of
operations is to add sums in another one (so that they fit vectors) and to contract a product and a sum; NaN and
infinity, which masks are made of, stay what they are.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import fx

from compressor.errors import CompressError, ExportError, UnsupportedError
from compressor.export.codes import in_codes
from compressor.export.slots import expanded
from compressor.export.tvm_inline import inlined
from compressor.export.tvm_loops import Vectors, in_vectors
from compressor.graph.edit import layer_name
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.targets.machine import this_machine
from compressor.targets.target import Target

__all__ = ["processor_of", "to_tvm"]

_ANY_X86 = "x86-64-v3"  # AVX2 and FMA: what every x86-64 board of the last ten years has
_WIDE, _NARROW = Vectors(lanes=64, unrolled=8), Vectors(lanes=32, unrolled=4)
_ORDER_OF_SUMS = ("fast-math-reassoc", "fast-math-contract", "fast-math-nsz")
_BOUNDS = ("tir_var_lower_bound", "tir_var_upper_bound")
_UNSUPPORTED = "Unsupported function types"


def to_tvm(program: Program, target: Target, path: Path) -> tuple[Path, ...]:
    """Compile and link `path`; the files written. Its function `main` takes the inputs and gives the outputs in order.

    Raises UnsupportedError, naming operator and layer, where TVM has no such operator; ExportError where TVM fails or
    there is no compiler to link with.
    """
    tvm = _tvm()
    compiler = _linker()
    with _telling(program), quiet():
        llvm = tvm.target.Target(_llvm(target))
        module = _unbounded(_imported(in_codes(expanded(program)), llvm))
        with tvm.transform.PassContext(opt_level=3):
            executable = tvm.compile(module, target=llvm, relax_pipeline=_pipeline(llvm, _vectors(target)))
        executable.export_library(str(path), cc=compiler, options=["-shared", "-fPIC", "-Wl,--strip-all"])
    return (path,)


def _imported(program: Program, llvm: Any) -> Any:
    """The network as TVM's importer reads it, with kernels for the target's instruction set where there are codes."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    from compressor.export.kernels.isa import best_isa
    from compressor.export.tvm_activations import ACTIVATIONS
    from compressor.export.tvm_operators import converters
    from compressor.export.tvm_shapes import shaped
    from compressor.export.tvm_sizes import settle

    features = {str(each) for each in tvm.get_global_func("target.llvm_get_cpu_features")(llvm)}
    exported = as_exported(program).run_decompositions()
    sizes = settle(exported, program.inputs)
    table = {**shaped(exported, sizes), **ACTIVATIONS, **converters(exported, best_isa(features))}
    module = from_exported_program(exported, run_ep_decomposition=False, custom_convert_map=table)
    return relax.transform.EliminateCommonSubexpr()(module)


def processor_of(target: Target) -> str:
    """LLVM's name of the processor that code is made for: this machine's own for `host`."""
    if not target.is_host:
        return _ANY_X86
    return str(_tvm().get_global_func("target.llvm_get_system_cpu")())


def _llvm(target: Target) -> dict[str, Any]:
    return {"kind": "llvm", "mcpu": processor_of(target), **dict.fromkeys(_ORDER_OF_SUMS, True)}


def _vectors(target: Target) -> Vectors:
    """AVX-512 has 32 registers of 16 floats, AVX2 16 of 8."""
    return _WIDE if target.is_host and "avx512f" in this_machine().features else _NARROW


def _pipeline(llvm: Any, vectors: Vectors) -> Any:
    """TVM's default one for processors, with the loops' order between operators and memory."""
    from tvm.ir.transform import Sequential
    from tvm.relax.backend.cpu_generic import pipeline

    before = (*pipeline.library_dispatch_passes(llvm), *pipeline.legalize_passes(llvm))
    return Sequential(
        [
            *before,
            inlined(),
            in_vectors(vectors),
            *pipeline.dataflow_lower_passes(llvm),
            *pipeline.finalize_passes(llvm),
        ]
    )


def _unbounded(module: Any) -> Any:
    """Without the ranges of dynamic dimensions: torch narrows them to what its own kernels were guarded for (a batch
    of 2 to 15, say), and memory would be planned for no more."""
    main = module["main"]
    for name in _BOUNDS:
        main = main.without_attr(name)
    module.update_func(module.get_global_var("main"), main)
    return module


def _tvm() -> Any:
    try:
        with quiet():
            import tvm
    except (ImportError, OSError) as error:
        raise ExportError(f"TVM cannot be loaded: {error}", way_out='pip install "edge-compressor[tvm]"') from error
    return tvm


def _linker() -> str:
    for name in ("g++", "clang++", "c++"):
        if found := shutil.which(name):
            return found
    raise ExportError("no C++ compiler is here to link model.so with", way_out="apt install g++, or clang.")


@contextlib.contextmanager
def _telling(program: Program) -> Iterator[None]:
    """TVM's failures as errors of ours."""
    try:
        yield
    except CompressError:
        raise
    except Exception as error:  # the importer, LLVM and the linker raise many types
        raise _failure(error, program) from error


def _failure(error: Exception, program: Program) -> CompressError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = lines[-1 if type(error).__name__ == "InternalError" else 0].strip() if lines else type(error).__name__
    if _UNSUPPORTED not in reason:
        return ExportError(f"TVM cannot compile it: {reason[:300]}")
    places = [layer_name(node) for node in program.nodes() if _overload(node) in reason]
    return UnsupportedError(
        f"TVM has no operator for {reason.partition(_UNSUPPORTED)[2].strip(' []')}",
        where=", ".join(dict.fromkeys(places)),
        way_out="Leave --runtime out: ONNX Runtime has more operators.",
    )


def _overload(node: fx.Node) -> str:
    """As TVM's importer names it: `dequantize.default`."""
    return str(getattr(node.target, "__name__", node.target))
