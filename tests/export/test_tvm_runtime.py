"""How many threads TVM may have: as many as there are processors, unless the user says so."""

from __future__ import annotations

import os

import pytest
from compiled import needs_tvm

from compressor.export.tvm_runtime import loaded_tvm


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def test_processors_are_counted_where_nobody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert loaded_tvm().__name__ == "tvm"
    assert os.environ["TVM_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("name", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "3")
    loaded_tvm()
    assert {each: os.environ[each] for each in ("TVM_NUM_THREADS", "OMP_NUM_THREADS") if each in os.environ} == {
        name: "3"
    }
