"""The heavy part beside a plan: int8 where it may be, and no word of it as something kept."""

from __future__ import annotations

from boards import board
from narrow_nets import linear_net, net_batches

from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.passes.quantizing.heavy import with_heavy
from compressor.passes.quantizing.legal import plan_legal
from compressor.passes.quantizing.plan import Limits

LIMITS = Limits(static=True, calibrator="minmax", percentile=99.99, samples=64, max_error=0.04)
CONTEXT = Context(board(), calibration=net_batches(), synthetic=False)


def test_named_layers_become_int8() -> None:
    program, _ = functional_copy(linear_net())
    legal = plan_legal(program, CONTEXT, "int2", 32, LIMITS, ("up",), slower=True)
    settings, skips = with_heavy(program, CONTEXT, LIMITS, legal, ["up"])
    assert settings["up"]["format"] == "int8"
    assert "low" in settings["up"]
    assert settings["down"]["format"] == "int2"
    assert all(skip.site != "up" for skip in skips)
    assert with_heavy(program, CONTEXT, LIMITS, legal, []) == (legal.settings, legal.skipped)
