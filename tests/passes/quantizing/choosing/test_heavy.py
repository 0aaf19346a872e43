"""The heavy part beside a plan: int8 where it may be, and no word of it as something kept."""

from __future__ import annotations

from boards import board
from narrow_nets import linear_net, net_batches

from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.passes.quantizing.choosing.heavy import with_heavy
from compressor.passes.quantizing.choosing.legal import plan_legal
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.codes.rounding import NEAREST, Rounding

LIMITS = Limits(static=True, calibrator="minmax", percentile=99.99, samples=64, max_error=0.04)
CONTEXT = Context(board(), calibration=net_batches(), synthetic=False)


def test_named_layers_become_int8() -> None:
    program, _ = functional_copy(linear_net())
    legal = plan_legal(program, CONTEXT, "int2", 32, LIMITS, lambda _: Rounding("mse"), ("up",), slower=True)
    found = with_heavy(program, CONTEXT, LIMITS, NEAREST, legal, ["up"])
    assert found.settings["up"]["format"] == "int8"
    assert "low" in found.settings["up"]
    assert found.settings["down"]["format"] == "int2"
    assert all(skip.site != "up" for skip in found.skipped)
    assert with_heavy(program, CONTEXT, LIMITS, NEAREST, legal, []) is legal
