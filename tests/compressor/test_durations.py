"""Times as they are typed."""

from __future__ import annotations

import pytest

from compressor.durations import duration
from compressor.errors import InputError


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("5s", 5.0), (" 1.5 min ", 90.0)])
def test_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "5h", "1e3s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="--time"):
        duration(text)
