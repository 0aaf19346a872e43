"""A manifest that was edited by hand is told what is not so; nothing in it makes the check fail."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from boards import board
from quantized import with_blocks
from torch import nn

from compressor.export.onnx import to_onnx
from compressor.export.pack import pack_model, packed_parts
from compressor.export.statements import miscounted, misnamed
from compressor.export.weight_bits import weight_bits
from compressor.graph.capture import capture

ARRAYS = {
    "ids": np.zeros((2, 5), np.int64), "past_key_values.0.key": np.zeros((2, 3, 8), np.float32),
    "logits": np.zeros((2, 5, 61), np.float32),
}  # fmt: skip
SAID: dict[str, Any] = {
    "inputs": [
        {"name": "ids", "dtype": "int64", "shape": ["batch", "sequence"]},
        {"name": "past_key_values.0.key", "dtype": "float32", "shape": ["batch", "past", 8]},
    ],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", "sequence", 61]}],
    "decoder": {"tokens": "ids", "scores": "logits", "vocabulary": 61, "places": 64},
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(SAID)
    inner: Any = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


def test_what_is_so() -> None:
    assert list(misnamed(SAID, ARRAYS)) == []
    assert list(misnamed({**SAID, "outputs": []}, ARRAYS)) == [
        "manifest.json: decoder: scores is 'logits', which is none of the outputs"
    ]
    half = [{"name": "logits", "dtype": "bfloat16", "shape": [2, "sequence", 61]}]
    assert list(misnamed({**SAID, "outputs": half}, ARRAYS)) == [], "NumPy has no bfloat16"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("inputs", 0, "dtype"), "int32", "'ids' is said to be 'int32', the golden one is int64"),
        (("inputs", 0, "dtype"), None, "'ids' is said to be None"),
        (("inputs", 0, "shape"), ["batch"], "'ids' is said to have the shape ['batch']"),
        (("inputs", 0, "shape"), None, "'ids' is said to have the shape None"),
        (("inputs", 0, "shape"), ["batch", None], "'ids' is said to have the shape"),
        (("inputs", 0, "shape"), ["batch", True], "'ids' is said to have the shape"),
        (("inputs", 1, "shape"), ["batch", "past", 9], "the golden one has (2, 3, 8)"),
        (("outputs", 0, "shape"), ["batch", "batch", 61], "the golden one has (2, 5, 61)"),
        (("decoder",), 5, "decoder is 5, not an object"),
        (("decoder", "tokens"), [], "tokens is [], which is none of the inputs"),
        (("decoder", "scores"), {}, "scores is {}, which is none of the outputs"),
        (("decoder", "vocabulary"), "61", "vocabulary is '61', the scores are of 61 tokens"),
        (("decoder", "places"), True, "places is True"),
    ],
)  # fmt: skip
def test_what_is_not(path: tuple[Any, ...], value: Any, said: str) -> None:
    [first, *_] = misnamed(changed(path, value), ARRAYS)
    assert said in first


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    program = capture(nn.Sequential(nn.Linear(256, 96)), (torch.randn(2, 256),)).program
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    to_onnx(with_blocks(program, "linear", format="ternary", block=64), board()).save(path)
    return path


def test_weights_are_counted_again(model: Path) -> None:
    packed = pack_model(model)
    assert packed is not None
    parts = packed_parts(packed)
    told = weight_bits(model, parts)
    assert list(miscounted({"weights": told}, model, parts)) == []
    assert list(miscounted({}, model, parts)) == []
    plain = weight_bits(model)
    named = {**plain, "formats": {{"int2": "ternary"}.get(k, k): v for k, v in plain["formats"].items()}}
    assert list(miscounted({"weights": named}, model, ())) == [], "as it was called where it was packed"
    [wrong] = miscounted({"weights": {**told, "bits_on_disk": 1.0}}, model, parts)
    assert wrong.startswith("manifest.json: weights: bits_on_disk is 1.0, the model has ")
    few = {**told, "formats": {**told["formats"], "ternary": {**told["formats"]["ternary"], "weights": 5}}}
    assert any("int2: weights is 5, the model has 24576" in each for each in miscounted({"weights": few}, model, parts))
    other = {**told, "formats": {**told["formats"], "int8": told["formats"]["ternary"]}}
    assert any("'int8' is of no weights" in each for each in miscounted({"weights": other}, model, parts))


@pytest.mark.parametrize("value", [None, True, -1, 1e308, "x", [], {}, {"formats": 5}, {"formats": {"int8": 3}}])
def test_values_of_any_type_are_told(value: Any, model: Path) -> None:
    told = weight_bits(model)
    assert list(miscounted({"weights": value}, model, ()))
    for key in ("weights", "bits_on_disk", "formats"):
        assert list(miscounted({"weights": {**told, key: value}}, model, ()))
    assert list(miscounted({"weights": {**told, "formats": {**told["formats"], "int2": value}}}, model, ()))


def test_what_is_no_model_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff")
    [said] = miscounted({"weights": {}}, tmp_path / "model.onnx", ())
    assert "cannot be counted" in said
