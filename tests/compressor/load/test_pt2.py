"""A `.pt2` loads captured already; hostile ones are `tests/graph/test_archive.py`'s."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile.archives import Bomb, pickled, small_pt2, with_record
from torch import nn

from compressor.errors import LoadError, UntrustedError
from compressor.load.model import load_model


def test_archive_under_any_suffix(tmp_path: Path) -> None:
    loaded = load_model(small_pt2(tmp_path / "model.pt"))
    assert (loaded.name, loaded.kind, loaded.module) == ("model", "torch.export archive", None)
    assert loaded.program is not None
    assert [(spec.name, spec.shape) for spec in loaded.program.inputs] == [("x", ("batch", 4))]


def test_hostile_archive(tmp_path: Path) -> None:
    hostile = {"data/sample_inputs/model.pt": pickled(((Bomb(tmp_path / "canary"),), {}))}
    path = with_record(small_pt2(tmp_path / "model.pt2"), tmp_path / "evil.pt2", hostile)
    with pytest.raises(UntrustedError, match="--trust"):
        load_model(path)
    assert not (tmp_path / "canary").exists()


def test_nan_weight_is_named(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].bias[1] = float("nan")
    torch.export.save(torch.export.export(model, (torch.zeros(2, 2),)), tmp_path / "m.pt2")
    with pytest.raises(LoadError, match=r"0\.bias"):
        load_model(tmp_path / "m.pt2")
