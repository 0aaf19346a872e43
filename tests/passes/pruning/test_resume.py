"""A finished round on disk: the same program comes back, to the same job only."""

from __future__ import annotations

from pathlib import Path

import torch
from recovery import digits_program

from compressor.passes.pruning.resume import Resume


def test_the_last_round_comes_back(tmp_path: Path) -> None:
    program = digits_program()
    resume = Resume(tmp_path / "work" / "checkpoint.pt", "a", 1)
    assert resume.load() is None
    resume.save(1, program)
    resume.save(2, program)
    found = Resume(tmp_path / "work" / "checkpoint.pt", "a", 1).load()
    assert found is not None
    assert found[0] == 2
    assert found[1].hash() == program.hash()


def test_another_job_or_a_damaged_file_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Resume(path, "a").save(1, digits_program())
    assert Resume(path, "b").load() is None
    path.write_bytes(path.read_bytes()[:-1000])
    assert Resume(path, "a").load() is None


def test_without_a_path_nothing_is_kept() -> None:
    resume = Resume(None, "a")
    resume.save(1, digits_program())
    assert resume.load() is None


def test_a_training_that_is_under_way_comes_back_beside_it(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "checkpoint.pt", "a")
    resume.save(1, digits_program())
    resume.keep({"step": 5, "values": [torch.ones(2)]})
    found = Resume(tmp_path / "checkpoint.pt", "a").kept()
    assert found is not None
    assert (found["step"], found["values"][0].tolist()) == (5, [1.0, 1.0])
    assert resume.load() is not None
    assert Resume(tmp_path / "checkpoint.pt", "b").kept() is None
    assert Resume(None, "a").kept() is None
