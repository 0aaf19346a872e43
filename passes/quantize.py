"""Fewer bits a number: fp16, bf16, int8 with calibrated activations, or weights in blocks of 4, 3, 2 or 1.58 bits.

    x̂ = s · (clamp(round(x / s) + z, low, high) − z)

int8: weights symmetric, one scale an output channel; activations one scale a value, in the format that the target's
integer kernels take. fp16: parameters and arithmetic in half precision, except where it would overflow. bf16: weights
alone, in half the bytes. int4, int3, int2, ternary (−1, 0, 1, which the runtime reads as two bits): matrices of
weights alone, one scale for `block` inputs of an output.
(Jacob et al., 2018, arXiv:1712.05877; Nagel et al., 2021, A White Paper on Neural Network Quantization,
arXiv:2106.08295.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from typing import ClassVar, Literal

from torch import Tensor

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult, Setting, Skip, Value
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantizing.carry import carry_out, check_target
from compressor.passes.quantizing.choosing.choose import Wanted, choose_formats, list_options
from compressor.passes.quantizing.choosing.mixed import MixedPlan, Teach
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.codes.rounding import (
    BiasChoice,
    Rounding,
    SolverChoice,
    choose_rounding,
    plain_solver,
)
from compressor.passes.quantizing.options import check_together
from compressor.passes.quantizing.scaling.equalize import EqualizeChoice, Equalized, equalize, replay
from compressor.passes.quantizing.scaling.trial import trial_of
from compressor.passes.quantizing.settings import is_wish, spread
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.training import SITE, Lesson, Once, Ranges, taught_once
from compressor.passes.quantizing.writing.ffsplit import apply_splits, is_split, plan_splits
from compressor.passes.quantizing.writing.outliers import apply_ranges
from compressor.passes.reading.samples import limited
from compressor.quant.blocks import BLOCK_FORMATS, BLOCK_SIZES
from compressor.quant.grids import Share
from compressor.quant.ternary import Rule
from compressor.targets.target import Target
from compressor.targets.tvm import TVM

__all__ = ["Quantize"]

MOST_BITS = 8.0  # mixed with more is int8
_WITH_BUDGETS = "Write mixed:bits=3:budgets=3/4.5/6:train=2000steps."
_WITH_TRAIN = "Train it: ternary:train=2000steps:norm=true."
MILDEST = 0.01  # below this relative error hardly a layer qualifies


@dataclass(frozen=True)
class Quantize(Pass):
    """Store and compute in a smaller number format.

    format: "int8", "fp16", "bf16" (weights alone), or for weights alone, of linear layers, convolutions and
        embeddings, "int4", "int3", "int2" or "ternary"; "mixed" chooses for each layer.
    mode: "static" computes in integers with calibrated activations, "weight-only" stores weights as integers and
        computes in float, "auto" is static where there is calibration data and the target has integer kernels.
    calibrator: how an activation's range is chosen: "minmax", "percentile", "mse" or "entropy".
    percentile: of the values that the percentile calibrator keeps at each end.
    samples: how many calibration samples are used.
    max_error: relative output error above which a layer's activations stay float.
    block: how many inputs of a linear layer share a scale in int4, int3, int2 and ternary, at most: 32, 64 or 128.
    bits: a weight, with scales, on average over the layers that "mixed" may give fewer than eight.
    slower: whether layers take a format even where the latency model predicts that they get slower.
    ffsplit: the share of a feed-forward block's neurons, those that weigh most, that is split off and has eight bits,
        or in mixed a choice of its own; 0 splits nothing.
    solver: how weights' codes are found: "nearest", "mse" (searched scales), "hqq" (scales that outliers do not move)
        or "gptq" (later weights make up for earlier ones' errors on the calibration data); "auto" is nearest for
        int8, for others gptq where there is data of the user's, else mse.
    bias: "correct" gives the mean that rounding takes from a layer's output back to its bias, "auto" where that lowers
        the output's error on data of the user's.
    scale: what shares a ternary scale: a "block", a "row" (an output) or the "tensor".
    rule: a ternary scale is "fitted" (least squares), "absmean" (BitNet's), or "minmax" (QMoE's two scales).
    equalize: scales of input channels move into the layer before: "smooth" (by inputs and weights, AWQ's and
        SmoothQuant's), "cross-layer" (by both layers' weights), or on data of the user's whichever lowers the error
        most, if any ("auto").
    train: how long the rounded network learns from the original, as `recover` counts: 600steps, 3epochs, 5min; or none.
        Where that does not help, the codes are those of the solver.
    losses: what it learns, as in `recover`.
    rate: peak learning rate; none: higher the fewer the bits, from 0.3 to 3 times what `recover` takes.
    ranges: of integer activations while training: "learned", "settle" as running statistics that freeze, or "fixed".
    budgets: bits a weight of the networks, such as 3/4.5/6, that one training of "mixed" is to serve; `bits` says which
        is made, and another one is made without training again.
    norm: put a layer norm without parameters before linear layers in blocks (BitNet); only with training.
    """

    name: ClassVar[str] = "quantize"
    main: ClassVar[str] = "format"
    order: ClassVar[int] = 90
    together: ClassVar[bool] = True
    format: Literal["int8", "fp16", "bf16", "int4", "int3", "int2", "ternary", "mixed"] = "int8"
    mode: Literal["auto", "static", "weight-only"] = "auto"
    calibrator: Literal["minmax", "percentile", "mse", "entropy"] = "mse"
    percentile: float = 99.99
    samples: int = 128
    max_error: float = 0.04
    block: int = 128
    bits: float = 5.0
    slower: bool = False
    ffsplit: float = 0.0
    solver: SolverChoice = "auto"
    bias: BiasChoice = "auto"
    scale: Share = "block"
    rule: Rule = "fitted"
    equalize: EqualizeChoice = "auto"
    train: str | None = None
    losses: str = "auto"
    rate: float | None = None
    ranges: Ranges = "learned"
    norm: bool = False
    budgets: str | None = None

    def __post_init__(self) -> None:
        """Raises RecipeError for numbers that make no sense."""
        if self.samples < 1:
            raise RecipeError(f"samples is {self.samples}; calibration needs one at least", where="quantize")
        if not self.max_error >= 0.0:
            raise RecipeError(f"max_error is {self.max_error}, not an error", where="quantize")
        self._lesson()
        if self.block not in BLOCK_SIZES:
            raise RecipeError(f"block is {self.block}, not one of {', '.join(map(str, BLOCK_SIZES))}", where="quantize")

        if not self.bits > 0.0:
            raise RecipeError(f"bits is {self.bits}, not a number of bits a weight", where="quantize")

        if not 0.0 <= self.ffsplit < 1.0:
            raise RecipeError(f"ffsplit is {self.ffsplit}, not a share of the neurons", where="quantize")
        check_together(
            self, self.format, trained=self.train is not None, calibrator=self.calibrator, solver=self.solver
        )

    @property
    def limits(self) -> Limits:
        """How activations are calibrated, and what error of a layer is tolerated."""
        return Limits(self.mode != "weight-only", self.calibrator, self.percentile, self.samples, self.max_error)

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """For every layer: left alone, weights alone, and static with its calibrated ranges; or the other format."""
        copy, _ = functional_copy(program)
        return list_options(copy, context, self._wanted(context))

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        """int8; and in blocks, where bytes count or the kernels are ours."""
        yield cls()
        if "size" in axes or context.target.runtime.name == TVM:
            yield from (cls(format) for format in ("int4", "ternary"))

    @classmethod
    def reads(cls, target: Target) -> tuple[object, ...]:
        formats = ((each.formats, each.operators, each.activations, each.saturates) for each in target.providers)
        return (target.runtime.name, *formats)

    def milder(self) -> Mapping[str, Value] | None:
        """More layers' activations stay float, in the end all; smaller blocks; more bits."""
        if self.format in BLOCK_FORMATS:
            return {"block": self.block // 2} if self.block > min(BLOCK_SIZES) else None
        if self.format == "mixed":
            return {"bits": self.bits + 1} if self.bits < MOST_BITS else None
        if self.format != "int8" or self.mode == "weight-only":
            return None
        return {"max_error": self.max_error / 2} if self.max_error > MILDEST else {"mode": "weight-only"}

    def learns(self) -> bool:
        return self._lesson() is not None

    def run(self, program: Program, context: Context) -> PassResult:
        copy, left = functional_copy(program)
        splits = {site: setting for site, setting in self.sites.items() if is_split(setting)}
        if self.ffsplit and not self.sites:
            splits, skipped = plan_splits(copy, context, self.ffsplit, self.keep)
            left = (*left, *skipped)
        heavy = apply_splits(copy, splits)
        result = self._run(copy, context, left, heavy)
        return replace(result, settings={**splits, **result.settings})

    def _run(self, copy: Program, context: Context, left: Sequence[Skip], heavy: Sequence[str]) -> PassResult:
        if self.sites:
            told = spread(self.sites, [layer.name for layer in find_layers(copy)[0]])
            sites = {site: each for site, each in told.items() if not is_wish(each)}
            check_target(sites, context.target)
            rest = {site: each for site, each in sites.items() if site != SITE and not is_split(each)}
            rescaled = replay(copy, rest, limited(copy, context.calibration, self.samples), context)
            apply_ranges(copy, rest)
            if wished := told.keys() - sites.keys():
                return self._wished(copy, context, wished, rest, left, rescaled)
            return replace(self._carried(copy, context, rest, left), rescaled=rescaled)
        scaled = self._equalized(copy, context)
        plan = choose_formats(copy, context, self._wanted(context, tuple(heavy)), self._teach(context))
        skipped = (*left, *scaled.skipped, *plan.skipped)
        once = plan.once if isinstance(plan, MixedPlan) else None
        result = self._carried(copy, context, scaled.said(plan.settings), skipped, once)
        if once is not None:
            of = f"this network is that of {self.bits:g} bits a weight, of one training for {self.budgets}"
            result = replace(result, notes=(*result.notes, of))
        missed = plan.missed if isinstance(plan, MixedPlan) else ""
        return replace(result, notes=(*plan.notes, *result.notes), rescaled=scaled.rescaled, missed=missed)

    def _wished(
        self, copy: Program, context: Context, wished: Collection[str], rest: Mapping[str, Setting],
        left: Sequence[Skip], rescaled: Mapping[str, Tensor],
    ) -> PassResult:  # fmt: skip
        """int8 in the layers that only say so, with ranges calibrated here, beside what others say in full."""
        layers = {layer.name for layer in find_layers(copy)[0]}
        int8 = replace(
            self, sites={}, format="int8", slower=True, keep=(*self.keep, *map(escape, layers.difference(wished)))
        )
        scaled = int8._equalized(copy, context)
        plan = choose_formats(copy, context, int8._wanted(context))
        settings = scaled.said({site: setting for site, setting in plan.settings.items() if site not in rest})
        skipped = [skip for skip in (*scaled.skipped, *plan.skipped) if skip.site in wished]
        skipped += [Skip(site, "the model has no such layer") for site in sorted(set(wished) - layers)]
        result = self._carried(copy, context, {**rest, **settings}, (*left, *skipped))
        return replace(result, notes=(*plan.notes, *result.notes), rescaled={**rescaled, **scaled.rescaled})

    def _equalized(self, copy: Program, context: Context) -> Equalized:
        if self.format in ("fp16", "bf16"):
            return Equalized()
        format = "int4" if self.format == "mixed" else self.format
        trial = trial_of(copy, format, self.block, self.mode, self._rounding(context, format), context)
        batches = limited(copy, context.calibration, self.samples)
        trial = replace(trial, limit=min(self.max_error, type(self).max_error))  # more is borne, not wished for
        return equalize(copy, self.equalize, trial, batches, context, self.keep)

    def _wanted(self, context: Context, heavy: tuple[str, ...] = ()) -> Wanted:
        return Wanted(
            self.format, self.block, self.bits, self.limits, lambda format: self._rounding(context, format), self.keep,
            self.slower, heavy,
        )  # fmt: skip

    def _carried(
        self, copy: Program, context: Context, settings: Mapping[str, Setting], skipped: Sequence[Skip],
        once: Once | None = None,
    ) -> PassResult:  # fmt: skip
        result = carry_out(copy, settings, self._lesson(), context, self.keep, self.samples, once)
        return replace(result, skipped=(*skipped, *result.skipped))

    def _lesson(self) -> Lesson | None:
        """How to train, or None; a recipe's own word counts alone. Raises RecipeError for what cannot be."""
        if self.sites:
            return Lesson.read(self.sites)
        if self.budgets is not None and (self.format != "mixed" or self.train is None):
            raise RecipeError("budgets are those of a mixed training", where="quantize", way_out=_WITH_BUDGETS)
        if self.train is None:
            if self.norm:
                raise RecipeError("norm changes what the network computes", where="quantize", way_out=_WITH_TRAIN)
            return None
        if self.rule == "minmax":
            raise RecipeError(
                "minmax's two scales are not trained", where="quantize", way_out="Take rule=fitted or rule=absmean."
            )
        budgets = self.budgets or ""
        return Lesson(self.train, self.losses, self.rate, ranges=self.ranges, norm=self.norm, budgets=budgets)

    def _rounding(self, context: Context, format: str = "") -> Rounding:
        format = format or self.format
        if self.budgets is not None and format in BLOCK_FORMATS:  # training finds the codes
            return Rounding(plain_solver(format))
        return choose_rounding(format, self.solver, self.scale, self.rule, self.bias, context)

    def _teach(self, context: Context) -> Teach | None:
        """What trains the formats before a mixed plan is made, where it is to serve several budgets."""
        lesson = self._lesson() if self.budgets is not None else None
        return None if lesson is None else partial(_taught, lesson, context)


def _taught(lesson: Lesson, context: Context, program: Program, choices: str) -> Once | Skip:
    return taught_once(program, replace(lesson, choices=choices), context)
