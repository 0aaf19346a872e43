"""The entry point picks the loader by content and tells when a factory was not needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile.archives import small_pt2
from hostile.models import Net, factory_file

from compressor.errors import LoadError
from compressor.load import Loaded, load_model


def test_path_may_be_text(tmp_path: Path) -> None:
    assert isinstance(load_model(str(small_pt2(tmp_path / "m.pt2"))), Loaded)


def test_needless_factory_is_told(tmp_path: Path) -> None:
    factory = f"{factory_file(tmp_path)}:raises"
    assert "not needed" in load_model(small_pt2(tmp_path / "m.pt2"), factory=factory).notes[0]
    torch.save(Net(), tmp_path / "m.pt")
    assert "not needed" in load_model(tmp_path / "m.pt", factory=factory, trust=True).notes[0]


def test_every_refusal_says_where_and_what_to_do(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "random": b"abc" * 99, "zip": b"PK\x03\x04"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LoadError) as caught:
            load_model(tmp_path / name)
        assert caught.value.where.endswith(name)
        assert caught.value.way_out
