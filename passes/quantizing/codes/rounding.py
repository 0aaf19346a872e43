"""How a layer's codes are found, as options say it and as recipes write it.

    {format = "ternary", block = 64, scale = "row", rule = "absmean", solver = "gptq", bias = "correct"}

`solver`, `scale`, `rule` and `bias` stand in a setting only where they differ from what goes without saying: nearest
rounding for int8, searched scales for blocks, a scale a block by the rule that fits best, biases as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from compressor.errors import RecipeError, did_you_mean
from compressor.graph.contract import Context, Setting, Value
from compressor.quant.grids import SHARES, Share
from compressor.quant.solvers.rounding import SOLVERS, Solver
from compressor.quant.ternary import RULES, Rule

__all__ = [
    "KEYS", "NEAREST", "BiasChoice", "Rounding", "SolverChoice", "check_rounding", "choose_rounding", "plain_solver",
    "rounding_of",
]  # fmt: skip

SolverChoice = Literal["auto", "nearest", "mse", "hqq", "gptq"]
BiasChoice = Literal["auto", "none", "correct"]
KEYS = ("solver", "scale", "rule", "bias")
_NEEDS = "and there is no calibration data"
_WAY_OUT = "Give --data, or solver=mse and bias=none."


@dataclass(frozen=True)
class Rounding:
    """One layer's solver, what shares a ternary scale and which rule finds it, and what becomes of the bias."""

    solver: Solver
    share: Share = "block"
    rule: Rule = "fitted"
    bias: BiasChoice = "none"

    @property
    def asks_for_inputs(self) -> bool:
        return self.solver == "gptq" or self.bias != "none"

    def setting(self, format: str) -> dict[str, Value]:
        """What a setting of that format has to say."""
        usual = Rounding(plain_solver(format))
        given = {"solver": self.solver, "scale": self.share, "rule": self.rule, "bias": self.bias}
        left_out = {"solver": usual.solver, "scale": usual.share, "rule": usual.rule, "bias": usual.bias}
        fitting = given if format == "ternary" else {key: given[key] for key in ("solver", "bias")}
        return {key: value for key, value in fitting.items() if value != left_out[key]}


NEAREST = Rounding("nearest")


def rounding_of(setting: Setting) -> Rounding:
    """What a checked setting asks for."""
    usual = Rounding(plain_solver(str(setting["format"])))
    return Rounding(
        cast("Solver", setting.get("solver", usual.solver)),
        cast("Share", setting.get("scale", usual.share)),
        cast("Rule", setting.get("rule", usual.rule)),
        cast("BiasChoice", setting.get("bias", usual.bias)),
    )


def choose_rounding(
    format: str, solver: SolverChoice, share: Share, rule: Rule, bias: BiasChoice, context: Context
) -> Rounding:
    """What the options ask for: `auto` measures on data that is not synthetic, and needs none where there is none.

    Eight bits are rounded to nearest even so: gptq halves what weights lose there (benchmarks/solvers.py), which is the
    lesser part beside integer activations, and takes several times as long.

    Raises RecipeError for gptq, or a bias to be corrected, without calibration data of the user's.
    """
    real = bool(context.calibration) and not context.synthetic
    if not real and (solver == "gptq" or bias == "correct"):
        what = "gptq rounds by what a layer reads" if solver == "gptq" else "a bias is corrected on what a layer reads"
        raise RecipeError(f"{what}, {_NEEDS}", where="quantize", way_out=_WAY_OUT)
    found: Solver = plain_solver(format) if solver == "auto" else solver
    if solver == "auto" and real and format != "int8":
        found = "gptq"
    return Rounding(found, share, rule, bias if real or bias != "auto" else "none")


def check_rounding(setting: Setting, where: str) -> None:
    """Raises RecipeError for a value that there is not."""
    ternary = setting.get("format") == "ternary"
    known = {"solver": SOLVERS, "scale": SHARES, "rule": RULES, "bias": get_args(BiasChoice)}
    for key, values in known.items():
        value = setting.get(key, values[0])
        if value not in values:
            way_out = did_you_mean(str(value), list(values))
            raise RecipeError(f"{key} is {value!r}, not one of {', '.join(values)}", where=where, way_out=way_out)
        if key in ("scale", "rule") and key in setting and not ternary:
            raise RecipeError(f"{key} is for ternary weights alone", where=where)


def plain_solver(format: str) -> Solver:
    """Without data. On int8 rows a searched scale clips outliers, which costs more than it gains."""
    return "nearest" if format == "int8" else "mse"
