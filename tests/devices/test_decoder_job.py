"""A board times one token behind others and answers texts; a manifest that does not fit its arrays asks for nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from decoders import VOCABULARY

from compressor.devices.artifact import KINDS
from compressor.devices.decoder_job import answering, decoder_of, step_inputs
from compressor.export.verify import Contents, open_bundle


@pytest.fixture(scope="module")
def bundle(decoder_bundle: Path) -> Contents:
    return open_bundle(decoder_bundle)


def changed(bundle: Contents, **decoder: Any) -> Contents:
    manifest = {**bundle.manifest, "decoder": {**bundle.manifest["decoder"], **decoder}}
    return dataclasses.replace(bundle, manifest=manifest)


def test_one_token_behind_as_many_as_the_model_has_places_for(bundle: Contents) -> None:
    decoder = decoder_of(bundle)
    assert decoder is not None
    assert step_inputs(bundle, decoder, 3) == {
        "ids": {"shape": [3, 1], "dtype": "int64", "low": 0, "high": VOCABULARY},
        "past_key_values.states": {"shape": [3, 63, 16], "dtype": "float32", "low": -1.0, "high": 1.0},
    }
    plan = answering(bundle, decoder, 3)
    assert (plan["read"], plan["steps"], plan["batch"], plan["vocabulary"]) == (32, 32, 3, VOCABULARY)
    assert plan["inputs"][1]["shape"] == ["batch", "past", 16]
    job = KINDS[0].job(bundle, "0", 1, 1)
    assert job["decoder"]["tokens"] == "ids"
    assert job["golden"]["inputs"] == ["ids", "past_key_values.states"]


def test_a_mask_is_of_ones_and_as_long_as_past_and_token(bundle: Contents) -> None:
    inputs = [
        {"name": "ids", "shape": ["batch", "past + sequence"]},
        {"name": "past_key_values.states", "shape": ["batch", "past", 16]},
    ]
    masked = dataclasses.replace(bundle, manifest={**bundle.manifest, "inputs": inputs})
    decoder = {"tokens": "", "scores": "logits", "vocabulary": 9, "places": 1000}
    assert step_inputs(masked, decoder, 1)["ids"] == {"shape": [1, 129], "dtype": "int64", "low": 1, "high": 2}


def test_what_does_not_fit_is_no_decoder(bundle: Contents, digits_bundle: Path) -> None:
    assert decoder_of(open_bundle(digits_bundle)) is None
    for wrong in (
        {"tokens": "x"},
        {"scores": 3},
        {"vocabulary": "9"},
        {"places": 1},
        {"vocabulary": 0},
        {"places": True},
    ):
        assert decoder_of(changed(bundle, **wrong)) is None, wrong
    shapes = [{"name": name, "shape": ["batch"]} for name in bundle.inputs]
    assert decoder_of(dataclasses.replace(bundle, manifest={**bundle.manifest, "inputs": shapes})) is None


def test_dimensions_that_are_none(bundle: Contents) -> None:
    for word in ("wide", "sequence", 1.5, None):
        inputs = [
            {"name": "ids", "shape": ["batch", "sequence"]},
            {"name": "past_key_values.states", "shape": ["batch", "past", word]},
        ]
        wrong = dataclasses.replace(bundle, manifest={**bundle.manifest, "inputs": inputs})
        assert decoder_of(wrong) is None, word
    fixed = [{"name": "ids", "shape": ["batch", 6]}, bundle.manifest["inputs"][1]]
    assert decoder_of(dataclasses.replace(bundle, manifest={**bundle.manifest, "inputs": fixed})) is None
