"""Exports share torch's table of translations, and none leaves its own in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18 as op
from torch import nn
from torch.onnx._internal.exporter import _registration

from compressor.export.onnx_registry import one_registry
from compressor.graph.quiet import quiet


def export(**options: Any) -> set[str]:
    with quiet():
        program = torch.export.export(nn.ReLU(), (torch.ones(2),))
        result = torch.onnx.export(program, dynamo=True, opset_version=18, optimize=False, verbose=False, **options)
    assert result is not None
    return {node.op_type for node in result.model.graph}


def test_a_custom_translation_is_gone_in_the_next_export() -> None:
    table: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.relu.default: lambda x: op.Abs(x)}
    with one_registry():
        assert export(custom_translation_table=table) == {"Abs"}
        assert export() == {"Relu"}


def test_it_is_torchs_own_table() -> None:
    theirs = _registration.ONNXRegistry.from_torchlib(opset_version=18)
    with one_registry():
        ours = _registration.ONNXRegistry().from_torchlib(opset_version=18)
        again = _registration.ONNXRegistry().from_torchlib(opset_version=18)
    assert ours.opset_version == theirs.opset_version
    assert {target: len(found) for target, found in ours.functions.items()} == {
        target: len(found) for target, found in theirs.functions.items()
    }
    assert ours.functions is not again.functions
    assert (
        [*ours.functions.values()][-1][0]
        is [*again.functions.values()][-1][0]
        is not [*theirs.functions.values()][-1][0]
    )


def test_operators_registered_later_are_looked_up_again() -> None:
    """torch leaves out the translations of operators that nothing has registered yet."""
    with one_registry():
        before = _registration.ONNXRegistry().from_torchlib(opset_version=18)
        library = torch.library.Library("compressor_late", "DEF")
        library.define("operator(Tensor x) -> Tensor")
        after = _registration.ONNXRegistry().from_torchlib(opset_version=18)
    assert [*before.functions.values()][-1][0] is not [*after.functions.values()][-1][0]


def test_torch_is_as_before_outside() -> None:
    before = _registration.ONNXRegistry.__dict__["from_torchlib"]
    with one_registry():
        pass
    assert _registration.ONNXRegistry.__dict__["from_torchlib"] is before
