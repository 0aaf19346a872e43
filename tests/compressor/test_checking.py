"""What is told before a model is read."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.checking import checked
from compressor.errors import CompressError
from compressor.request import Request


def test_a_request_that_may_run_is_read() -> None:
    found = checked(Request("model.pt", "raspberry-pi-5", passes="fold,int8", runtime="both", max_drop="1pt", seed=3))
    assert [spec.name for spec in found.specs] == ["fold", "quantize"]
    assert found.beside is not None
    assert (found.target.runtime.name, found.beside.runtime.name) == ("onnxruntime", "tvm")
    assert found.drop_limit.absolute
    assert found.seed == 3
    assert checked(Request("model.pt", "raspberry-pi-5")).seed == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": None}, "no target"),
        ({"latency": "8"}, "is not a budget"),
        ({"max_drop": "1q"}, "--max-drop"),
        ({"passes": "fold", "train": "net.py:train"}, "no pass runs it"),
        ({"tune": "20min"}, "only what TVM compiles is tuned"),
        ({"time": "10min", "passes": "fold"}, "nothing is planned"),
        ({"carbon": -1.0}, "carbon"),
        ({"device": "kitchen-pie"}, "no device is saved as 'kitchen-pie'"),
        ({"device": "shs://board"}, "unknown kind"),
        ({"device": "ssh://board", "front": True}, "--front measures nothing on a board"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(CompressError, match=told) as error:
        checked(Request("model.pt", **{"target": "host", **options}))
    assert error.value.exit_code == 2
