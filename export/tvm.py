"""From a `Program` to machine code: one shared library for TVM's virtual machine, weights included.

    program ─ layers as operators of our own, channels last, what follows inside ─ torch.export ─ relax
            ─ fuse, join and order loops, plan memory ─ LLVM for the target's processor, or CUDA for its GPU ─ link
            ─▶ model.so

Products, convolutions and attention are kernels of our own (`codes.py`, `float_layers.py`, `channels_last.py`,
`epilogues.py`; `tvm_operators.py`, `tvm_floats.py`, `kernels/`). Of the rest schedules are not tuned: loops over
elements are joined (`tvm_inline.py`), loops of sums put into an order that fits vectors (`tvm_loops.py`), the others
stay in their textbook order, all on one thread. What is allowed beyond IEEE's order of operations is to add sums in
another one (so that they fit vectors) and to contract a product and a sum; NaN and infinity, which masks are made of,
stay what they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import fx

from compressor.errors import CompressError, ExportError, UnsupportedError
from compressor.export.channels_last import channels_last
from compressor.export.codes import in_codes
from compressor.export.epilogues import with_epilogues
from compressor.export.float_layers import in_layers
from compressor.export.slots import expanded
from compressor.export.tvm_boards import compiler_of, features_of, llvm_of
from compressor.export.tvm_cuda import cuda_of, kernels_of
from compressor.export.tvm_inline import inlined
from compressor.export.tvm_linking import find_linker, finish
from compressor.export.tvm_loops import Vectors, in_vectors
from compressor.export.tvm_runtime import loaded_tvm
from compressor.graph.edit import layer_name
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.targets.machine import this_machine
from compressor.targets.target import Compiler, Target

if TYPE_CHECKING:
    from compressor.export.kernels.isa import Isa
    from compressor.export.tuning.schedules import Schedules

__all__ = ["default_loops", "textbook", "to_tvm"]

_WIDE, _NARROW = Vectors(lanes=64, unrolled=8), Vectors(lanes=32, unrolled=4)
_BOUNDS = ("tir_var_lower_bound", "tir_var_upper_bound")
_EMPTY = ".c"  # what TVM writes where no function is left, of a network that gives what it was given
_IN_WASM = "edge_model_"  # before the names of its functions: no library is loaded there, they are linked in
_ELSEWHERE = "Leave --runtime out: ONNX Runtime has more operators."
_UNSUPPORTED = "Unsupported function types"


def to_tvm(
    program: Program, target: Target, path: Path, schedules: Schedules | None = None
) -> tuple[Path, ...]:  # fmt: skip
    """Compile and link `path`; the files written. Its function `main` takes the inputs and gives the outputs in order.

    `schedules` are those that tuning has found, which take the place of the default ones.
    Where nothing here links for the board, the files are objects, and a script that links them there. Kernels for a GPU
    that are not compiled here are in the library as source, and beside it.
    Raises UnsupportedError, naming operator and layer, where TVM has no such operator; ExportError where TVM fails or
    there is no compiler to link with.
    """
    tvm = _tvm()
    compiler = compiler_of(target)
    linker = find_linker(compiler)
    files: list[Path] = []

    def link(_: str, names: list[str], **__: Any) -> None:
        if any(name.endswith(_EMPTY) for name in names):
            raise UnsupportedError("the network computes nothing that could be compiled", way_out=_ELSEWHERE)
        objects = [Path(name) for name in names]
        beside = kernels.finish(objects, path)
        files.extend((*finish(linker, objects, path), *beside))

    with _telling(program), quiet(), kernels_of(compiler) as kernels:
        described = tvm.target.Target(cuda_of(compiler) if compiler.cuda else llvm_of(compiler))
        module = _network(program, compiler)
        if compiler.triple.startswith("wasm32"):
            module = module.with_attr("system_lib_prefix", _IN_WASM)
        pipeline = _default(described) if compiler.cuda else _pipeline(described, target, schedules)
        with tvm.transform.PassContext(opt_level=3):
            executable = tvm.compile(module, target=described, relax_pipeline=pipeline)
        executable.export_library(str(path), fcompile=link)
    return tuple(files)


def textbook(program: Program, target: Target) -> Any:
    """The network as functions of loops that nobody has scheduled, and kernels: what tuning takes its tasks from.

    Raises as `to_tvm`.
    """
    tvm, compiler = _tvm(), compiler_of(target)
    with _telling(program), quiet():
        llvm = tvm.target.Target(llvm_of(compiler))
        module = _network(program, compiler)
        with llvm, tvm.transform.PassContext(opt_level=3):
            return tvm.transform.Sequential(_as_loops(llvm))(module)


def default_loops(target: Target) -> list[Any]:
    """The passes that give every function of loops its default schedule."""
    return [inlined(), in_vectors(_vectors(target))]


def _network(program: Program, compiler: Compiler) -> Any:
    return _unbounded(_imported(expanded(program), compiler))


def _imported(program: Program, compiler: Compiler) -> Any:
    """The network as TVM's importer reads it, with kernels for the target's instruction set where there are codes."""
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    from compressor.export.kernels.isa import best_isa
    from compressor.export.tvm_activations import ACTIVATIONS
    from compressor.export.tvm_floats import float_converters
    from compressor.export.tvm_operators import converters
    from compressor.export.tvm_shapes import shaped
    from compressor.export.tvm_sizes import settle

    isa = None if compiler.cuda else best_isa(features_of(compiler))
    prepared = program if compiler.cuda else _prepared(program, isa)
    exported = as_exported(prepared).run_decompositions()
    sizes = settle(exported, program.inputs)
    table = {
        **shaped(exported, sizes), **ACTIVATIONS, **converters(exported, isa), **float_converters(exported, isa)
    }  # fmt: skip
    module = from_exported_program(exported, run_ep_decomposition=False, custom_convert_map=table)
    return relax.transform.EliminateCommonSubexpr()(module)


def _prepared(program: Program, isa: Isa | None) -> Program:
    """With layers as operators of our own, where there are kernels for them."""
    coded = in_codes(program)
    return with_epilogues(channels_last(in_layers(coded))) if isa is not None else coded


def _vectors(target: Target) -> Vectors:
    """AVX-512 has 32 registers of 16 floats, AVX2 16 of 8."""
    return _WIDE if target.is_host and "avx512f" in this_machine().features else _NARROW


def _as_loops(llvm: Any) -> list[Any]:
    """Operators as functions of loops; those that only give memory another shape are none, and what is left unused
    is not compiled."""
    from tvm import relax
    from tvm.relax.backend.cpu_generic import pipeline

    views = [relax.transform.RewriteDataflowReshape(), relax.transform.DeadCodeElimination()]
    return [*pipeline.library_dispatch_passes(llvm), *pipeline.legalize_passes(llvm), *views]


def _pipeline(llvm: Any, target: Target, schedules: Schedules | None) -> Any:
    """TVM's default one for processors, with the loops' order between operators and memory."""
    from tvm.ir.transform import Sequential
    from tvm.relax.backend.cpu_generic import pipeline

    from compressor.export.tuning.schedules import scheduled

    loops = default_loops(target)
    return Sequential(
        [
            *_as_loops(llvm),
            *(loops if schedules is None else [scheduled(schedules, loops)]),
            *pipeline.dataflow_lower_passes(llvm),
            *pipeline.finalize_passes(llvm),
        ]
    )


def _default(described: Any) -> Any:
    """TVM's own pipeline: on GPUs with its schedules of dlight."""
    from tvm import relax

    return relax.get_default_pipeline(described)


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
        return loaded_tvm()
    except (ImportError, OSError) as error:
        raise ExportError(f"TVM cannot be loaded: {error}", way_out='pip install "edge-compressor[tvm]"') from error


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
        return ExportError(f"TVM cannot compile it: {reason[:300]}", way_out=_ELSEWHERE)
    places = [layer_name(node) for node in program.nodes() if _overload(node) in reason]
    return UnsupportedError(
        f"TVM has no operator for {reason.partition(_UNSUPPORTED)[2].strip(' []')}",
        where=", ".join(dict.fromkeys(places)),
        way_out=_ELSEWHERE,
    )


def _overload(node: fx.Node) -> str:
    """As TVM's importer names it: `dequantize.default`."""
    return str(getattr(node.target, "__name__", node.target))
