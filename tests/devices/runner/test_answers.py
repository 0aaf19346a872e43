"""How long a decoder answers, through its cache; what does not run is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.devices.artifact import KINDS
from compressor.devices.runner.answers import answered
from compressor.devices.runner.model import JobError
from compressor.export.verify import open_bundle


@pytest.fixture(scope="module")
def job(decoder_bundle: Path) -> dict[str, Any]:
    made = KINDS[0].job(open_bundle(decoder_bundle), "0", 2, 1)
    return {**made, "model": str(decoder_bundle / "model.onnx")}


def test_first_and_further_tokens(job: dict[str, Any]) -> None:
    found = answered(job, "", runs=2, seconds=0.0)
    assert (found["read"], found["steps"], found["runs"]) == (32, 32, 2)
    assert found["first_ms"] > 0
    assert found["token_ms"] > 0


def test_more_tokens_than_places(job: dict[str, Any]) -> None:
    plan = {**job["decoder"], "steps": 64}
    with pytest.raises(JobError) as told:
        answered({**job, "decoder": plan}, "", runs=1, seconds=0.0)
    assert told.value.kind == "run"
