"""The settings of a factorized layer, as recipes write them: `rank = 32, inner = 24, method = "activation"`.

`share = 0.5` in the place of a rank asks for two layers that hold this share of the weights, `multiple = 8` beside it
for a rank on multiples of eight, whatever the target wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Setting, Value

__all__ = ["Choice", "Method", "choose_method", "parse_choice"]

Method = Literal["auto", "svd", "activation"]
_WAY_OUT = (
    'rank = 32, and if need be inner (Tucker-2) or blocks (butterfly), method ("svd" or "activation") and refit '
    "(true or false)"
)


@dataclass(frozen=True)
class Choice:
    """What is made of one layer: two layers with `rank` between them, or with `inner` three; with `blocks` that many
    blocks of a pattern for each run of outputs, beside the two (`butterfly.py`).

    `refit`: the weights are fitted to what the original computed, from what the layers before give by now.
    """

    rank: int
    inner: int = 0
    method: str = "svd"
    refit: bool = False
    blocks: int = 0
    share: float = 0.0  # of the weights, where the rank is yet to be found
    multiple: int = 0  # that it lands on then; 0 is the target's

    @property
    def asks_for_inputs(self) -> bool:
        return self.method == "activation"

    def setting(self) -> Setting:
        counts: dict[str, Value] = {"inner": self.inner, "blocks": self.blocks}
        more = {name: count for name, count in counts.items() if count}
        return {"rank": self.rank, **more, "method": self.method, **({"refit": True} if self.refit else {})}

    def told(self) -> str:
        """In words."""
        if self.blocks:
            return f"{self.blocks} block{'s' if self.blocks > 1 else ''} a row and rank {self.rank}"
        return f"ranks {self.inner} and {self.rank}" if self.inner else f"rank {self.rank}"


def choose_method(method: Method, context: Context, where: str = "factorize") -> str:
    """Activation where there is data of the user's. Raises RecipeError where it is asked for and there is none."""
    real = bool(context.calibration) and not context.synthetic
    if method == "activation" and not real:
        raise RecipeError(
            "activation weighs by what a layer reads, and there is no calibration data", where=where,
            way_out="Give --data, or method=svd.",
        )  # fmt: skip
    return ("activation" if real else "svd") if method == "auto" else method


def parse_choice(site: str, setting: Setting, context: Context) -> Choice:
    """What a setting asks for. Raises RecipeError, naming the site, for what cannot be read."""
    where = f"factorize: site {site!r}"
    unknown = sorted(set(setting) - {"rank", "share", "inner", "blocks", "method", "refit", "multiple"})
    if unknown or ("rank" in setting) == ("share" in setting):
        what = f"there is no setting {unknown[0]!r}" if unknown else "a rank or a share is given, and not both"
        raise RecipeError(what, where=where, way_out=_WAY_OUT)
    rank, inner, blocks = setting.get("rank", 1), setting.get("inner", 0), setting.get("blocks", 0)
    share, multiple = setting.get("share", 0.0), setting.get("multiple", 0)
    method, refit = setting.get("method", "svd"), setting.get("refit", False)
    for name, value, right in (
        ("rank", rank, _is_count(rank) and rank >= 1),  # type: ignore[operator]
        ("share", share, isinstance(share, int | float) and 0.0 <= share < 1.0),
        ("multiple", multiple, _is_count(multiple) and not (multiple and not share)),
        ("inner", inner, _is_count(inner) and not (inner and share)),
        ("blocks", blocks, _is_count(blocks) and not (blocks and (inner or share))),
        ("method", method, method in get_args(Method)),
        ("refit", refit, isinstance(refit, bool)),
    ):
        if not right:
            raise RecipeError(f"{name} is {value!r}", where=where, way_out=_WAY_OUT)
    found = choose_method(method, context, where)  # type: ignore[arg-type]
    fitted = bool(refit) and found == "activation"
    return Choice(int(rank), int(inner), found, fitted, int(blocks), float(share), int(multiple))


def _is_count(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
