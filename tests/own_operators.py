"""Models with a library of operators of their own, made for tests and run in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from quantized import with_blocks
from torch import Tensor, nn

from compressor.export.custom_op.library import packed_for, write_library
from compressor.export.onnx import to_onnx
from compressor.export.session import OPERATORS, Runner, operators_of, runner
from compressor.graph.capture import capture
from compressor.graph.edit import add_tensor, argument, finish, insert, is_call, substitute, tensor_of
from compressor.graph.program import Program
from compressor.quant.blocks import BLOCK_FORMATS, quantize_blocks
from compressor.targets import Target, load_target

__all__ = ["Tied", "in_blocks", "ran", "tied", "with_operators", "x86_64"]

ops = torch.ops.compressor


def x86_64() -> Target:
    """Any x86-64 board; nothing is timed for it here."""
    return load_target("x86-64")


def in_blocks(
    outputs: int, inputs: int, format: str = "ternary", block: int = 32, *, bias: bool = True, integer: bool = True
) -> Program:
    """A linear layer on any number of rows, its weights in blocks."""
    torch.manual_seed(outputs + inputs)
    module = nn.Linear(inputs, outputs, bias=bias).eval()
    program = capture(module, (torch.randn(2, inputs),)).program
    return with_blocks(program, "linear", format=format, block=block, integer=integer)


class Tied(nn.Module):
    """Token ids to scores, through one matrix."""

    def __init__(self, words: int = 70, width: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.words(ids)), self.words.weight)


def tied(format: str = "int4", block: int = 32) -> Program:
    """`Tied` with its matrix in blocks, once."""
    torch.manual_seed(0)
    program = capture(Tied().eval(), (torch.randint(0, 70, (2, 5)),)).program.copy()
    calls = {
        kind: next(node for node in program.nodes() if is_call(node, target))
        for kind, target in (("table", torch.ops.aten.embedding.default), ("linear", torch.ops.aten.linear.default))
    }
    weight = tensor_of(program, calls["linear"].args[1])
    assert weight is not None
    blocks = quantize_blocks(weight, BLOCK_FORMATS[format], block)
    codes, scales = (
        add_tensor(program, name, value, calls["table"], buffer=True)
        for name, value in (("words.weight_packed", blocks.packed), ("words.weight_scale", blocks.scales))
    )
    numbers = (BLOCK_FORMATS[format].stored_bits, block, blocks.width)
    given = (codes, argument(calls["table"], "indices"), scales, *numbers)
    substitute(program, calls["table"], insert(program, ops.embedding_blocks.default, given, like=calls["table"]))
    given = (calls["linear"].args[0], codes, scales, None, *numbers, True)
    substitute(program, calls["linear"], insert(program, ops.linear_blocks.default, given, like=calls["linear"]))
    return finish(program)


def with_operators(program: Program, folder: Path, target: Target | None = None) -> Path:
    """The model with its library beside it, in a folder that is there."""
    target = target or x86_64()
    packed = packed_for(program, target)
    assert packed is not program
    model = folder / "model.onnx"
    to_onnx(packed, target).save(model)
    write_library(packed, target, folder / OPERATORS)
    onnx.checker.check_model(model)
    return model


def ran(model: Path, threads: int = 1) -> Runner:
    """The model as a function, with its operators."""
    return runner(model, threads, operators=operators_of(model))
