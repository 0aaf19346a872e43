"""The rules on an archive's JSON, each by itself; `test_archive.py` holds whole archives against them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from torch._export.serde import schema

from compressor.errors import LoadError, UntrustedError
from compressor.graph.archive_model import check_json


def node(target: str) -> bytes:
    return json.dumps({"target": target, "inputs": [], "outputs": [], "metadata": {}}).encode()


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.conv2d.default", "torch.ops.aten.__and__.Tensor", "torch.ops.aten.sym_size.int", "_operator.mul",
     "torch.ops.compressor.quantize.default", "torch.ops.higher_order.cond", "torch.sym_max", "math.trunc"],
)  # fmt: skip
def test_harmless_operator(target: str) -> None:
    import compressor.quant.ops  # noqa: F401  registers the custom operators

    assert check_json(schema.Node, node(target), "m")["target"] == target


@pytest.mark.parametrize(
    "target",
    ["torch.load", "torch.hub.load", "torch.ops.load_library", "_operator.attrgetter", "_operator.call", "math.os",
     "torch.ops.higher_order.triton_kernel_wrapper_functional", "torch.ops.aten.conv2d", "torch.ops.aten.append.t",
     "torch.ops.aten.conv2d.default.__call__", "torch.opsXaten.conv2d.default", "os.system", "", "torch"],
)  # fmt: skip
def test_harmful_operator(target: str) -> None:
    with pytest.raises(UntrustedError, match=r"operator|reaches beyond"):
        check_json(schema.Node, node(target), "m")


@pytest.mark.parametrize("name", ["a b", "a;b", "a=1", "def", "ｘ", "a\n", "1a"])
def test_name_that_is_no_identifier(name: str) -> None:
    with pytest.raises(UntrustedError, match="identifier"):
        check_json(schema.TensorArgument, json.dumps({"name": name}).encode(), "m")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (schema.Device, {"type": 1}),
        (schema.Device, {}),
        (schema.Device, []),
        (schema.SymInt, {"as_int": True}),
        (schema.SymInt, {"as_int": 1, "as_expr": None}),
        (schema.SymInt, {"as_other": 1}),
        (schema.SymFloat, {"as_float": "1"}),
        (schema.RangeConstraint, {"min_val": "1", "max_val": None}),
        (schema.Argument, {"as_scalar_type": 4096}),
    ],
)
def test_wrong_type(kind: type[Any], data: Any) -> None:
    with pytest.raises(LoadError) as caught:
        check_json(kind, json.dumps(data).encode(), "m")
    assert not isinstance(caught.value, UntrustedError)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_no_json(text: bytes) -> None:
    with pytest.raises(LoadError):
        check_json(schema.ExportedProgram, text, "m")


@pytest.mark.parametrize("value", [1, 1.5, "Infinity", "-Infinity", "NaN"])
def test_float_as_torch_writes_it(value: Any) -> None:
    assert check_json(schema.SymFloat, json.dumps({"as_float": value}).encode(), "m") == {"as_float": value}
