"""What a linearization works with, with data and without."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.passes.linearizing.job import Job
from compressor.passes.linearizing.training import Lesson
from tests.per_kernel import context, images, trained


def test_calibration_is_one_batch_and_the_example_stands_in_for_none() -> None:
    told = replace(context(), calibration=[{"x": x} for x, _ in images(4, 3)])
    batch = Job(trained(), told, samples=40).batch
    assert batch is not None
    assert batch["x"].shape[0] == 40
    bare = Job(trained(), context())
    assert bare.batch is None
    assert torch.equal(bare.example["x"], trained().example[0])


def test_without_training_data_it_says_so_and_fits() -> None:
    job = Job(trained(), replace(context(), calibration=[{"x": x} for x, _ in images(8, 3)]))
    [up] = [s for s in job.found.stretches if s.name == "up"]
    result = job.result([up], (), Lesson("600steps"))
    assert "fitted instead" in " ".join(result.notes)
    assert result.settings == {"up": {"through": "down"}}
    bare = Job(trained(), context()).result([up], (), None)
    assert "nothing was fitted" in " ".join(bare.notes)
    wanted = Job(trained(), context()).result([up], (), Lesson("600steps"))
    assert wanted.notes == bare.notes, "one word on what was not done, none on what was"
    assert len(list(job.merged(result.program).nodes())) < len(list(job.merged(trained()).nodes()))


def test_a_recipe_of_another_model_is_skipped_in_words() -> None:
    found, absent = Job(trained(), context()).named({"up": {"through": "down"}, "gone": {"through": "down"}})
    assert [s.name for s in found] == ["up"]
    assert [(s.site, s.reason) for s in absent] == [("gone", "the model has no such stretch of layers")]
