"""What a run ends with."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from compressor.outcome import Outcome
from compressor.report.model import Report


@pytest.fixture(scope="module")
def outcome(digits_bundle: Path) -> Outcome:
    return Outcome(Report.from_json(json.loads((digits_bundle / "report.json").read_text())), digits_bundle, 3)


def test_json_carries_bundle_and_status(outcome: Outcome) -> None:
    found = outcome.to_json()
    assert (found["bundle"], found["exit_code"]) == (str(outcome.bundle), 3)
    json.dumps(found)


def test_the_terminal_names_the_bundle(outcome: Outcome) -> None:
    stream = io.StringIO()
    outcome.render(stream)
    assert f"bundle: {outcome.bundle}" in stream.getvalue().replace("\n", "")
