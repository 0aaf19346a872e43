"""From a request to a captured program with its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decoders import Growing, texts

from compressor.graph.contract import Progress
from compressor.prepare import Prepared, prepare
from compressor.request import Request
from compressor.targets import load_target
from compressor.targets.tvm import RUNTIMES, with_runtime


@pytest.fixture(scope="module")
def real(digits: Path) -> Prepared:
    request = Request(digits / "model.pt", data=digits / "data.npz")
    return prepare(request, load_target("jetson"), 0, Progress())


def test_real_data_replaces_the_example(real: Prepared, digits: Path) -> None:
    calibration = np.load(digits / "data.npz")["calibration/x"]
    assert torch.equal(real.program.example[0], torch.from_numpy(calibration[:2]))
    assert not real.synthetic
    assert real.metric.name == "accuracy"


def test_timed_batches_have_the_size_asked_for(real: Prepared) -> None:
    assert [len(real.timed_batch(size)["x"]) for size in (1, 2, 70)] == [1, 2, 70]


def test_the_calibration_digest_depends_on_the_data(real: Prepared, digits: Path) -> None:
    made_up = prepare(Request(digits / "model.pt"), load_target("jetson"), 0, Progress())
    assert made_up.synthetic
    assert made_up.calibration == ()
    assert made_up.calibration_digest() != real.calibration_digest()


def test_a_state_dict_leads_to_the_same_program(real: Prepared, digits: Path) -> None:
    request = Request(
        digits / "state_dict.pt", factory=f"{digits / 'model.py'}:build", inputs=("1x1x8x8",), data=digits / "data.npz"
    )
    other = prepare(request, load_target("jetson"), 0, Progress())
    batch = real.evaluation[0]
    ours, theirs = (next(iter(each.program.run(batch).values())) for each in (other, real))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_training_data_and_a_teacher_are_prepared_where_they_are_asked_for(real: Prepared, digits: Path) -> None:
    assert len(real.training) == 0
    request = Request(digits / "model.pt", data=digits / "data.npz", teacher=digits / "model.pt")
    taught = prepare(request, load_target("jetson"), 0, Progress(), train=True)
    assert sum(len(batch["x"]) for batch in taught.training) == 256
    assert taught.teacher is not None
    batch = real.evaluation[0]
    for ours, theirs in zip(taught.reference(batch).values(), real.reference(batch).values(), strict=True):
        assert torch.equal(ours, theirs)
    assert taught.training_digest() != real.training_digest()


def test_a_decoder_has_its_cache_unless_told_otherwise() -> None:
    asked = Request(Growing(), data=texts("ids"))
    found = prepare(asked, load_target("x86-64"), 0, Progress())
    assert found.is_decoder
    assert found.program.example[1].shape == (2, 6, 16), "the second half of real texts, behind the first"
    assert found.evaluation[0]["past_key_values.states"].shape[1] == 0
    assert found.timed_batch(3)["past_key_values.states"].shape == (3, 63, 16)
    read = found.first_batch(1)
    assert read is not None
    assert read["ids"].shape == (1, 64)
    text = {"ids": read["ids"]}
    torch.testing.assert_close(found.original(text)["logits"], found.program.run(text)["logits"], rtol=1e-4, atol=1e-5)
    for runtime in RUNTIMES:
        target = with_runtime(load_target("x86-64"), runtime)
        assert prepare(asked, target, 0, Progress()).is_decoder
        without = prepare(replace(asked, no_kv_cache=True), target, 0, Progress())
        assert not without.is_decoder
        assert [spec.name for spec in without.program.inputs] == ["ids"]
        assert without.first_batch(1) is None
