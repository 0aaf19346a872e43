"""Lowered models are found by name; a folder without any is told, not averaged."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from prepared import prepared


def test_names_are_sorted_and_of_the_pattern(tmp_path: Path) -> None:
    for name in ("vit-2-int8.json", "gpt-1-plain.json", "resnet-1-plain.json", "resnet-1-plain.onnx"):
        (tmp_path / name).touch()
    parser = argparse.ArgumentParser()
    assert prepared(tmp_path, parser) == ["gpt-1-plain", "resnet-1-plain", "vit-2-int8"]
    assert prepared(tmp_path, parser, "*-plain.json") == ["gpt-1-plain", "resnet-1-plain"]


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_models_is_told(tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        prepared(tmp_path / folder, argparse.ArgumentParser())
    assert ended.value.code == 2
    assert "latency_prepare.py" in capsys.readouterr().err
