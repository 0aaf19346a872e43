"""`Loaded` is a value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from compressor.load.loaded import Loaded


def test_frozen_with_empty_defaults() -> None:
    loaded = Loaded("m", "state dict")
    assert (loaded.module, loaded.program, loaded.example, loaded.notes, loaded.convert) == (None, None, None, (), None)
    with pytest.raises(FrozenInstanceError):
        loaded.name = "n"  # type: ignore[misc]
