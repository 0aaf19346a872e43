from __future__ import annotations

import onnx
import pytest

from compressor.errors import TargetError
from compressor.targets.operators import OPERATORS, operators

# Operators that onnxruntime or a parser knows without a schema in ONNX: experimental and legacy names.
NOT_IN_ONNX = {"Affine", "Crop", "DynamicSlice", "ImageScaler", "Mish", "ParametricSoftplus", "Scatter", "ScaledTanh",
               "Upsample"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_listed_operator_exists_in_onnx(name: str) -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS[name]) - NOT_IN_ONNX <= known


def test_every_provider_list_runs_the_operators_no_network_goes_without() -> None:
    for name, listed in OPERATORS.items():
        assert {"Conv", "MatMul", "MaxPool"} <= set(listed), name


def test_a_newer_tensorrt_runs_all_that_an_older_one_does() -> None:
    assert set(OPERATORS["tensorrt-8.5"]) < set(OPERATORS["tensorrt-10.3"])
    assert "LayerNormalization" not in OPERATORS["tensorrt-8.5"]


def test_named_lists_and_single_operators_combine() -> None:
    assert operators(("@xnnpack", "Relu", "Conv")) == (*OPERATORS["xnnpack"], "Relu")
    assert operators(("*",)) == ("*",)


def test_an_unknown_list_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TargetError, match="@tensorrt-11") as caught:
        operators(("@tensorrt-11",), where="my.toml")
    assert caught.value.where == "my.toml"
    assert "@tensorrt-10.3" in caught.value.way_out
