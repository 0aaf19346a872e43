"""Numbers that are not finite are no numbers."""

from __future__ import annotations

import pytest

from compressor.devices.finite import finite_json


def test_what_is_finite_is_read() -> None:
    assert finite_json('{"a": [1, -2.5e3, true, null, "NaN"]}') == {"a": [1, -2500.0, True, None, "NaN"]}


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "[1e999]", '{"a": 1' + "0" * 400 + "}", "[" * 100_000, "{", ""])
def test_what_is_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  json's own errors are such, too
        finite_json(text)
