"""The library of custom operators beside an ONNX model: kernels for its shapes, and what ONNX Runtime asks of them.

    packed program ─ a kernel a shape ─ LLVM for the target's processor ─▶ kernels.o ┐
                   ─ their list ─▶ kernels.inc ─ operators.cpp ─ C++ compiler ───────┴▶ model_ops.so

It needs nothing but the C library, and no header of ONNX Runtime's to be made.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor.errors import ExportError
from compressor.export.custom_op.listing import FEATURES, Wanted, listing
from compressor.export.custom_op.ops import layout_of
from compressor.export.custom_op.packed import in_packed
from compressor.export.tvm_boards import compiler_of, features_of, llvm_of
from compressor.export.tvm_linking import cross_compilers, find_linker
from compressor.graph.edit import argument, is_call
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.targets.target import Compiler, Target

if TYPE_CHECKING:
    from compressor.export.kernels.isa import Isa

__all__ = ["build_library", "check_tools", "packed_for", "write_library"]

ops = torch.ops.compressor
_OPTION = "--kernels custom-op"
_SOURCES = Path(__file__).resolve().parent
_OPTIONS = (
    "-std=c++17", "-O2", "-fPIC", "-shared", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics",
    "-fvisibility=hidden", "-Wl,--strip-all", "-Wl,--as-needed", "-Wl,-z,noexecstack",
)  # fmt: skip
_ONLY = "{ global: RegisterCustomOps; local: *; };\n"


def check_tools(target: Target) -> None:
    """Raises ExportError where TVM or a C++ compiler for the target is missing here, before anything slow."""
    if find_spec("tvm") is None:
        raise ExportError(
            "apache-tvm is not installed here", where=_OPTION, way_out='pip install "edge-compressor[tvm]"'
        )
    _compiler(compiler_of(target))


def packed_for(program: Program, target: Target) -> Program:
    """The program with weights packed for the target's kernels; itself where it has no products that they compute.

    Raises ExportError where TVM is missing, or has no kernels for the target's processor.
    """
    return in_packed(program, _isa(target))


def write_library(program: Program, target: Target, path: Path) -> None:
    """Write the library for a program of `packed_for`. Raises ExportError where it cannot be made."""
    build_library(_wanted(program), target, path)


def build_library(wanted: Wanted, target: Target, path: Path) -> None:
    """The same for kernels that are listed."""
    isa, told = _isa(target), compiler_of(target)
    compiler = _compiler(told)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_kernels(isa, wanted, told, place / "kernels.o")
        (place / "kernels.inc").write_text(_listed(wanted, told), encoding="ascii")
        (place / "only.map").write_text(_ONLY, encoding="ascii")
        command = [
            *compiler, *_OPTIONS, f"-Wl,--version-script={place / 'only.map'}", f"-I{place}", f"-I{_SOURCES}",
            str(_SOURCES / "operators.cpp"), str(place / "kernels.o"), "-o", str(place / path.name),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
            raise ExportError(f"{Path(compiler[0]).name} cannot build the operators: {said[0][:300]}", where=path.name)
        shutil.move(place / path.name, path)


def _listed(wanted: Wanted, compiler: Compiler) -> str:
    from compressor.export.kernels.product import ROWS

    return listing(wanted, FEATURES.intersection(features_of(compiler)), ROWS)


def _wanted(program: Program) -> Wanted:
    """The kernels that the program's nodes ask for, each once."""
    linear: dict[tuple[int, ...], set[bool]] = {}
    tables: dict[tuple[int, ...], None] = {}
    for node in program.nodes():
        if is_call(node, ops.linear_packed.default):
            linear.setdefault(tuple(argument(node, "layout")), set()).add(argument(node, "bias") is not None)
        elif is_call(node, ops.embedding_packed.default):
            tables[tuple(argument(node, "layout"))] = None
    return Wanted(
        {layout_of(list(key)): frozenset(biases) for key, biases in linear.items()},
        tuple(layout_of(list(key)) for key in tables),
    )


def _write_kernels(isa: Isa, wanted: Wanted, compiler: Compiler, path: Path) -> None:
    from compressor.export.kernels.activations import Rounding, round_rows
    from compressor.export.kernels.objects import write_object
    from compressor.export.kernels.outputs import Product
    from compressor.export.kernels.product import product
    from compressor.export.kernels.table import table_rows

    functions: dict[str, Any] = {}
    for index, (layout, biases) in enumerate(wanted.products.items()):
        name = wanted.rounding(layout)
        if name not in functions:
            functions[name] = round_rows(Rounding(isa, layout, by_block=True, in_c=True), name)
        for bias in biases:
            name = wanted.product(index, bias)
            functions[name] = product(Product(isa, layout, bias=bias, by_block=True, in_c=True), name)
    for index, layout in enumerate(wanted.tables):
        name = wanted.table(index)
        functions[name] = table_rows(layout, name=name, in_c=True)
    with quiet():
        write_object(functions, llvm_of(compiler), path)


def _isa(target: Target) -> Isa:
    """The instruction set that the target's kernels are made of."""
    from compressor.export.kernels.isa import best_isa

    isa = best_isa(features_of(compiler_of(target)))
    if isa is None:
        raise ExportError(
            f"there are no kernels for {target.name}'s processor", where=_OPTION,
            way_out="Leave --kernels out: ONNX Runtime's own run everywhere.",
        )  # fmt: skip
    return isa


def _compiler(compiler: Compiler) -> tuple[str, ...]:
    """The command that builds for the processor. Raises ExportError where there is none here."""
    found = find_linker(compiler).command
    if not found:
        raise ExportError(
            f"no C++ compiler for {compiler.triple} is here to build the operators with", where=_OPTION,
            way_out=f"{cross_compilers(compiler.triple)}; or leave --kernels out.",
        )  # fmt: skip
    return found
