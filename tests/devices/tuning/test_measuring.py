"""How long functions take: of any schedule, with a fault for what cannot be timed, and nothing left behind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from compiled import needs_tvm
from tuned import bench, endless, product, task, trace, tvm

from compressor.devices.tuning import measuring
from compressor.devices.tuning.measuring import Timing
from compressor.export.tuning.schedules import replayed


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def test_a_timing_s_figures() -> None:
    assert (Timing((3.0, 1.0, 2.0)).least, Timing((3.0, 1.0, 2.0)).median) == (1.0, 2.0)
    assert (Timing(fault="x").least, Timing(fault="x").median) == (math.inf, math.inf)


def test_functions_and_modules_of_any_schedule_are_timed(tmp_path: Path) -> None:
    scheduled = replayed(task().function, trace(task().function))
    with bench(tmp_path) as timed:
        found = timed.seconds([product(), tvm.IRModule({"main": scheduled})], rounds=2, least=1e-4)
        assert [len(each.times) for each in found] == [2, 2]
        assert all(0 < each.least <= each.median < 1 for each in found)
        first, second = timed.side_by_side([product(), scheduled], rounds=3, least=1e-4)
        assert len(first.times) == len(second.times) == 3
        assert len(list(tmp_path.glob("*.so"))) == 2  # each is compiled once
        assert len(timed.seconds([product()], rounds=3, limit=1e-12)[0].times) == 1
    assert timed.processes == []


def test_what_functions_compute(tmp_path: Path) -> None:
    with bench(tmp_path) as timed:
        ours, theirs = timed.arrays([product(), replayed(task().function, trace(task().function))], seed=3)
    assert not isinstance(ours, str)
    assert not isinstance(theirs, str)
    x, w, y = ours
    assert np.allclose(y, (x @ w).clip(0), atol=1e-4)
    assert all(np.allclose(one, other, atol=1e-4) for one, other in zip(ours, theirs, strict=True))


def test_what_hangs_or_does_not_compile_has_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_RUN", 1.0)
    missing = tvm.tirx.call_extern("int32", "no_such_function")
    broken = product().with_body(tvm.tirx.Evaluate(missing))
    with bench(tmp_path) as timed:
        assert timed.seconds([product()], rounds=1, least=1e-4)[0].times
        found = timed.seconds([endless(), broken, product()], rounds=1, least=1e-4)
        assert found[0].fault == "no answer within 1 s"
        assert found[1].fault
        assert not found[1].times
        assert found[2].times
        assert isinstance(timed.arrays([broken], 0)[0], str)
        assert all(each.fault for each in timed.side_by_side([product(), broken], rounds=1))
