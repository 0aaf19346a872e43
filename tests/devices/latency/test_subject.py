"""A network made ready for timing: what is written is read again, and one sample is fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from lowered_networks import small

from compressor.devices.latency.subject import read


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    subject = small(tmp_path)
    assert read(tmp_path, "small") == subject
    assert [call.op for call in subject.calls if call.main][:1] == ["conv2d"]
    assert subject.results == (subject.calls[-1].name,)


def test_one_sample_runs_in_the_runtime(tmp_path: Path) -> None:
    subject = small(tmp_path)
    session = onnxruntime.InferenceSession(subject.model)
    with np.load(subject.inputs) as arrays:
        (output,) = session.run(None, dict(arrays))
    assert output.shape == (1, 5)
    assert list(subject.feeds().values()) == [{"npz": subject.inputs}]


def test_half_a_subject_is_none(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "small.json").write_text('{"style": "x"')
    with pytest.raises(ValueError, match="delimiter"):
        read(tmp_path, "small")
