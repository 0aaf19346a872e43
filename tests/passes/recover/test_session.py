"""One run: what a checkpoint holds, when it is written, and that a disk that is slow is spared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recovery import Clock, damaged, digits_batches, digits_program

from compressor.passes.recover import recover, session


def test_a_checkpoint_is_written_as_it_goes_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, batches = digits_program(), digits_batches()
    student, path = damaged(teacher), tmp_path / "c.pt"
    whole = recover(student, teacher, batches, "12steps", clock=Clock(0.0))
    steps: list[int] = []
    original = session.write_checkpoint

    def dying(file: Path, key: str, state: dict[str, object]) -> bool:
        assert isinstance(state["step"], int)
        steps.append(state["step"])
        done = original(file, key, state)
        if state["step"] == 7:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(session, "write_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        recover(student, teacher, batches, "12steps", checkpoint=path, clock=Clock(0.0))
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    again = recover(student, teacher, batches, "12steps", checkpoint=path, clock=Clock(0.0))
    assert steps[7:] == [8, 9, 10, 11, 12]
    assert again.program.hash() == whole.program.hash()
    assert again.history == whole.history


def test_checkpoints_take_no_more_than_a_twentieth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = Clock(0.01), []

    def slow(file: Path, key: str, state: dict[str, object]) -> bool:
        written.append(clock.now)
        clock.now += 5.0
        return True

    monkeypatch.setattr(session, "write_checkpoint", slow)
    teacher = digits_program()
    recover(damaged(teacher), teacher, digits_batches(), "12steps", checkpoint=tmp_path / "c.pt", clock=clock)
    assert len(written) == 1


def test_a_resumed_run_remembers_the_time_it_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, batches, clock = digits_program(), digits_batches(), Clock(0.2)
    student, path = damaged(teacher), tmp_path / "c.pt"
    original = session.write_checkpoint

    def dying(file: Path, key: str, state: dict[str, object]) -> bool:
        original(file, key, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "write_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        recover(student, teacher, batches, "60s", checkpoint=path, clock=clock)
    first = clock.now
    monkeypatch.setattr(session, "write_checkpoint", original)
    rest = Clock(0.2)
    recover(student, teacher, batches, "60s", checkpoint=path, clock=rest)
    assert first + rest.now <= 60 + 2
    assert torch.load(path, weights_only=True)["state"]["elapsed"] > first
