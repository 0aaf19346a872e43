"""From a `Program` to ONNX, through `torch.onnx.export(dynamo=True)`.

    program ─ torch.export ─ translate ─ fold constants, never integer weights ─ name and clean ─▶ Lowered

The opset is the newest that the target's runtime knows, 21 at most (the first whose quantization operators cover
every format here, and the newest that all current runtimes and providers know).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer, version_converter
from torch import fx
from torch._decomp import get_decompositions
from torch.export import ExportedProgram

from compressor.errors import CompressError, ExportError, UnsupportedError
from compressor.export.expand import expand
from compressor.export.onnx_clean import clean, name_interface, own_zero_points, store_transposed, tie
from compressor.export.onnx_file import INLINE_LIMIT, save, weight_bytes
from compressor.export.onnx_norms import keep_sums_apart
from compressor.export.onnx_ops import TRANSLATIONS, shortcuts
from compressor.export.onnx_products import join_biases
from compressor.export.onnx_registry import one_registry
from compressor.export.onnx_rnn import RECURRENT_TRANSLATIONS, has_projection, is_packing
from compressor.export.onnx_signed import keep_quantized
from compressor.export.onnx_slots import is_slots
from compressor.graph.edit import finish, layer_name
from compressor.graph.functional import functionalize, is_mutating
from compressor.graph.lift import lift
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.graph.signature import TensorSpec
from compressor.targets.target import Target

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "Lowered", "to_onnx"]

NEWEST_OPSET, OLDEST_OPSET = 21, 13  # 13: the first with per-channel quantization
_TORCH_OPSET = 18  # the oldest that torch's exporter writes


@dataclass(frozen=True)
class Lowered:
    """An ONNX model in memory; its weights are the program's own tensors, not copies."""

    model: ir.Model
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)

    def save(self, path: Path, *, limit: int = INLINE_LIMIT) -> tuple[Path, ...]:
        """Write `path`, and `path.data` beside it when the weights exceed `limit` bytes; the files written."""
        return save(self.model, path, limit=limit)


def to_onnx(program: Program, target: Target, *, exported: ExportedProgram | None = None) -> Lowered:
    """Lower for the target's runtime. `exported` is `program.export()` where the caller has it already.

    Raises UnsupportedError, naming operator and layer, where ONNX has no such operator or the runtime's opset is too
    old; ExportError where torch fails.
    """
    opset = min(NEWEST_OPSET, target.runtime.opset)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"{target.runtime.name} {target.runtime.version} knows ONNX opset {opset}; {OLDEST_OPSET} is needed",
            where=f"target {target.name!r}",
            way_out="Install a newer runtime on the board and state its opset in a target file of your own.",
        )
    with _quiet():
        model = _translate(program, exported, max(opset, _TORCH_OPSET))
        tie(model)
        store_transposed(model)
        optimizer.optimize_ir(model, should_fold=_should_fold)
        keep_quantized(model)
        join_biases(model, inside=target.on_cpu)
        own_zero_points(model)
        name_interface(model, program)
        clean(model)
        keep_sums_apart(model)
        if opset < _TORCH_OPSET:
            model = _older(model, opset, target)
    model.ir_version = _ir_version(opset)
    model.producer_name, model.producer_version = "compressor", ""
    return Lowered(model, opset, program.inputs, program.outputs)


class _Expanding:
    """Stands in for `exported.run_decompositions`: only the operators that ONNX lacks are decomposed, one by one.

    `lacking` are operators which torch keeps whole and which its exporter was seen not to know.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lacking: set[Any] = set()
        self.exported: ExportedProgram | None = None  # the latest

    def __call__(self, table: Any = None, **options: Any) -> ExportedProgram:
        def needs(node: fx.Node) -> bool:
            return node.target in table or node.target in self.lacking

        lacking = any(needs(node) for node in self.program.nodes())
        self.exported = lift(expand(self.program, needs, table) if lacking else self.program)
        return self.exported


def _translate(program: Program, exported: ExportedProgram | None, opset: int) -> ir.Model:
    """torch's ONNX graph, unoptimized: first from the program's graph as it stands, then from torch's trace of it.

    The first spares two traces, and is more often possible; it also knows the layers of what fails.
    """
    program, graph = _functional(program), program.graph
    first: Exception | None = None
    if exported is None and not has_projection(program):
        expanding = _Expanding(program)
        try:
            return _directly(expanding, opset)
        except Exception as error:  # noqa: BLE001  whatever it is, torch's own trace has its say below
            first = error
            graph = expanding.exported.graph if expanding.exported else graph
    table = {**TRANSLATIONS, **RECURRENT_TRANSLATIONS}
    try:
        exported = exported or program.export()
        if has_projection(program):
            exported = exported.run_decompositions(get_decompositions([torch.ops.aten.lstm.input]))
        return _attempt(exported, opset, table)
    except Exception as error:  # torch.export and its ONNX exporter raise many types
        known = first is not None and _node_at_fault(first, graph) is not None
        raise _failure(first if first is not None and known else error, graph) from error


def _directly(expanding: _Expanding, opset: int) -> ir.Model:
    """Without a trace. An operator that torch's exporter does not know is decomposed in the next attempt."""
    table = {**TRANSLATIONS, **RECURRENT_TRANSLATIONS, **shortcuts(expanding.program)}
    while True:
        exported = lift(expanding.program)
        setattr(exported, "run_decompositions", expanding)  # noqa: B010  an instance's own, not the class's
        try:
            return _attempt(exported, opset, table)
        except Exception as error:
            node = _node_at_fault(error, expanding.exported.graph) if expanding.exported else None
            if node is None or not _is_unknown(error) or node.target in expanding.lacking:
                raise
            expanding.lacking.add(node.target)


def _attempt(exported: ExportedProgram, opset: int, table: Mapping[Any, Callable[..., Any]]) -> ir.Model:
    with one_registry():
        result = torch.onnx.export(
            exported, dynamo=True, opset_version=opset, custom_translation_table=dict(table), optimize=False,
            verbose=False,
        )  # fmt: skip
    model: ir.Model = result.model  # type: ignore[union-attr]
    return model


def _functional(program: Program) -> Program:
    """The program without in-place operators, which would cost a decomposition."""
    if not any(is_mutating(node) for node in program.graph.nodes):
        return program
    program = program.copy()
    functionalize(program)
    return finish(program)


def _failure(error: Exception, graph: fx.Graph) -> CompressError:
    """The innermost cause in a sentence, with the operators and layers that it concerns."""
    reason, node = _first_line(_causes(error)[-1]), _node_at_fault(error, graph)
    if node is None:
        return ExportError(f"the program cannot be lowered to ONNX: {reason}")
    same = [n for n in graph.nodes if n.op == "call_function" and n.target is node.target]
    places = ", ".join(dict.fromkeys(layer_name(n) for n in same))
    if not _is_unknown(error):
        return ExportError(f"{node.target} cannot be lowered to ONNX: {reason}", where=places)
    return UnsupportedError(
        f"ONNX has no operator for {node.target}",
        where=places,
        way_out="Write that layer with operators that ONNX has, or leave it out of the exported model.",
    )


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    return chain


def _node_at_fault(error: BaseException, graph: fx.Graph) -> fx.Node | None:
    """The node whose translation failed, by the name that torch's message gives it."""
    found = (re.search(r"translating node %(\w+)", str(cause)) for cause in _causes(error))
    name = next((match[1] for match in found if match), None)
    return next((node for node in graph.nodes if node.name == name), None)


def _is_unknown(error: BaseException) -> bool:
    """Whether torch's exporter has no translation for an operator, rather than one that failed."""
    return type(_causes(error)[-1]).__name__ == "DispatchError"


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _should_fold(node: ir.Node) -> bool | None:
    """Recurrent weights at any size; never the transpose of a tied weight, which would store it twice, nor bfloat16,
    nor the map of weights that share slots, which is bigger than they are."""
    if is_slots(node):
        return False
    if node.op_type == "Transpose":
        return False if len(node.inputs[0].uses()) > 1 else None  # type: ignore[union-attr]
    if node.op_type == "Cast" and node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.BFLOAT16:
        return False  # float32 again
    return True if is_packing(node) else None


def _older(model: ir.Model, opset: int, target: Target) -> ir.Model:
    """The same model in an older opset. Raises UnsupportedError where an operator is newer than that."""
    version_converter.convert_version(model, opset, fallback=True)  # a failure is logged and leaves the model as it is
    if model.opset_imports.get("") == opset:
        return model
    newer = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if _since(node) > opset]
    raise UnsupportedError(
        f"ONNX opset {opset} lacks these forms of " + ", ".join(sorted({node.op_type for node in newer})),
        where=", ".join(dict.fromkeys(str(node.name) for node in newer)),
        way_out=f"{target.name} runs {target.runtime.name} {target.runtime.version}, which knows no newer opset; "
        "install a newer runtime, or replace these operators.",
    )


def _since(node: ir.Node) -> int:
    """The opset in which this form of an operator appeared."""
    return int(onnx.defs.get_schema(node.op_type, _TORCH_OPSET).since_version) if not node.domain else 1


def _ir_version(opset: int) -> int:
    """The oldest file format version that goes with an opset: older runtimes refuse newer ones."""
    return int(next(version for _, version, known, *_ in onnx.helper.VERSION_TABLE if known >= opset))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch and onnxscript print progress, deprecations of their own, and that torchvision is not installed."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with quiet():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
