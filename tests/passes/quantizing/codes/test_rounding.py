"""How codes are found: what `auto` means, what recipes say and leave out, and what is refused."""

from __future__ import annotations

import pytest
import torch
from boards import board

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.passes.quantizing.codes.rounding import Rounding, check_rounding, choose_rounding, rounding_of

BATCH = {"x": torch.zeros(1)}
REAL = Context(board(), calibration=[BATCH], synthetic=False)
INVENTED = Context(board(), calibration=[BATCH])


@pytest.mark.parametrize(
    ("format", "context", "solver", "bias"),
    [
        ("int8", REAL, "nearest", "auto"),
        ("ternary", REAL, "gptq", "auto"),
        ("int8", INVENTED, "nearest", "none"),
        ("int4", INVENTED, "mse", "none"),
        ("int4", Context(board()), "mse", "none"),
    ],
)
def test_auto_measures_where_the_data_are_real(format: str, context: Context, solver: str, bias: str) -> None:
    found = choose_rounding(format, "auto", "block", "fitted", "auto", context)
    assert (found.solver, found.bias) == (solver, bias)


@pytest.mark.parametrize(("solver", "bias"), [("gptq", "none"), ("mse", "correct")])
def test_what_needs_data_is_refused_without(solver: str, bias: str) -> None:
    with pytest.raises(RecipeError, match="no calibration data"):
        choose_rounding("int4", solver, "block", "fitted", bias, INVENTED)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["int8", "int4", "ternary"])
def test_settings_say_what_does_not_go_without_saying(format: str) -> None:
    plain = rounding_of({"format": format})
    assert plain.setting(format) == {}
    other = Rounding("hqq", bias="correct")
    assert other.setting(format) == {"solver": "hqq", "bias": "correct"}
    assert rounding_of({"format": format, **other.setting(format)}) == other


def test_a_ternary_setting_says_its_scale_and_rule() -> None:
    found = Rounding("mse", "row", "absmean")
    assert found.setting("ternary") == {"scale": "row", "rule": "absmean"}
    assert rounding_of({"format": "ternary", "scale": "row", "rule": "absmean"}) == found


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"format": "int4", "solver": "gptk"}, "solver is 'gptk'"),
        ({"format": "int8", "bias": True}, "bias is True"),
        ({"format": "ternary", "rule": "best"}, "rule is 'best'"),
        ({"format": "int4", "scale": "row"}, "scale is for ternary weights alone"),
    ],
)
def test_values_that_there_are_not_are_refused(setting: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        check_rounding(setting, "quantize: site 'x'")
    assert "site 'x'" in str(caught.value)
