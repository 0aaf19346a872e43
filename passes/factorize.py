"""Thin layers in a row in place of a wide one: W ≈ U·V, so that less is stored and computed.

    linear  y = U·(V·x) + b          convolution  k×k to r channels, then 1×1; or Tucker-2: 1×1, k×k, 1×1
    embedding  U[i]·V                min E‖y − ŷ‖² on what the layers read (`factorizing/svd.py`, `…/solve.py`)

Greenformers (Cahyawijaya, 2021, arXiv:2108.10808) and PELA (Guo et al., 2023, arXiv:2310.10700) cut by plain SVD at one
ratio; the cut by activations, the refit and the biases are in closed form. r·(m + n) < m·n is not enough to be faster
(Wei et al., 2024, arXiv:2407.09835): ranks are those that the latency model says the target runs faster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult, Skip, Value
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.factorizing.choose import Chosen, Form, RankBy, Wish, choose
from compressor.passes.factorizing.guide import Guided, Lesson, guided
from compressor.passes.factorizing.offers import offers
from compressor.passes.factorizing.ranks import pair_rank
from compressor.passes.factorizing.remarks import remarks
from compressor.passes.factorizing.rewrite import rewrite
from compressor.passes.factorizing.settings import Choice, Method, choose_method, parse_choice
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.solve import solve
from compressor.passes.reading.options import refuse_idle
from compressor.passes.reading.samples import limited
from compressor.passes.recover.lesson import SITE
from compressor.targets.target import Target

__all__ = ["Factorize"]

MILDEST = 0.1  # share of the weights below which taking fewer away is not worth a try


@dataclass(frozen=True)
class Factorize(Pass):
    """Replace layers by two or three thinner ones each.

    amount: the share of the weights of the layers touched that goes.
    rank: "ratio" takes that share of each layer; "energy" the least rank that keeps `energy` of each layer's outputs;
        "latency" takes the share of all layers together where it does the least damage per predicted time.
    energy: the share of the squared singular values that stays, for rank=energy.
    method: "activation" loses the least of what the layers give on data, "svd" of their weights; "auto" is activation
        where there is data.
    refit: fit the thin layers to what the original layers gave, from what the layers before give by now.
    form: "tucker" makes convolutions with a kernel three layers, "pair" two; "auto" what loses less. "butterfly" puts a
        pattern of 32 × 32 blocks beside two thinner ones, for linear layers, with as many weights in all.
    slower: thin layers also where the target is predicted not to run them faster; `fold` after it leaves them as they
        are where one layer would store more.
    samples: how many calibration samples are used.
    train: how long the thin layers learn from the original while the dense ones fade out, as `recover` counts:
        600steps, 3epochs, 5min; or none.
    losses: what they learn, as in `recover`.
    rate: peak learning rate; none: as in `recover`.
    """

    name: ClassVar[str] = "factorize"
    main: ClassVar[str] = "amount"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 40
    amount: float = 0.5
    rank: RankBy = "ratio"
    energy: float = 0.9
    method: Method = "auto"
    refit: bool = True
    form: Form = "auto"
    slower: bool = False
    samples: int = 128
    train: str | None = None
    losses: str = "auto"
    rate: float | None = None

    def __post_init__(self) -> None:
        """Raises RecipeError for options that make no sense."""
        if self._lesson() is None:
            refuse_idle(self, ("losses", "rate"), "train=none", "train: train=600steps")
        for name, value, right in (
            ("amount", self.amount, 0.0 < self.amount < 1.0),
            ("energy", self.energy, 0.0 < self.energy < 1.0),
            ("samples", self.samples, self.samples >= 1),
        ):
            if not right:
                way_out = "It is a number above 0." if name == "samples" else "It is a share: 0.5."
                raise RecipeError(f"{name} is {value}", where="factorize", way_out=way_out)
        idle, other = ("amount", "ratio") if self.rank == "energy" else ("energy", "energy")
        refuse_idle(self, (idle,), f"rank={self.rank}", f"take rank={other}")

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),)

    def milder(self) -> Mapping[str, Value] | None:
        """Half as much goes."""
        if self.rank == "energy":
            return {"energy": 1 - (1 - self.energy) / 2} if 1 - self.energy > MILDEST / 10 else None
        return {"amount": self.amount / 2} if self.amount > MILDEST else None

    def learns(self) -> bool:
        return self._lesson() is not None

    @classmethod
    def reads(cls, target: Target) -> tuple[object, ...]:
        return (target.width_multiple,)

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """For every layer, ranks of an eighth to seven eighths of its weights, and butterflies where they can be.
        Bytes are those of the weights."""
        copy, _ = functional_copy(program)
        sites, _ = find_sites(copy, self.keep)
        return offers(copy, sites, self._usual(context), limited(copy, context.calibration, self.samples), context)

    def run(self, program: Program, context: Context) -> PassResult:
        copy, left = functional_copy(program)
        sites, skipped = find_sites(copy, self.keep)
        batches = limited(copy, context.calibration, self.samples)
        if self.sites:
            chosen = self._told(sites, skipped, context)
        else:
            chosen = choose(copy, sites, self._wish(context), batches, context)
            chosen.skipped[:0] = skipped
        chosen.skipped += left
        found = list(solve(copy, sites, chosen.choices, batches, context.progress))
        changed = tuple(name for site, _ in found for name in dict.fromkeys(layer.weight for layer in site.layers))
        dense, lesson = copy.copy(), self._lesson()
        for site, one in found:
            rewrite(copy, site, one.parts, one.bias)
        done = Guided(finish(copy))
        if lesson is not None:
            done = guided(dense, done.program, found, lesson, context, self.keep)
        settings = {site.name: one.choice.setting() for site, one in found}
        settings |= {} if done.setting is None else {SITE: done.setting}
        declined = (*chosen.skipped, *done.skipped)
        return PassResult(done.program, changed, declined, settings, (*remarks(found), *chosen.notes, *done.notes))

    def _lesson(self) -> Lesson | None:
        """How to train, or None; a recipe's own word counts alone."""
        if self.sites:
            return Lesson.read(self.sites)
        return None if self.train is None else Lesson(self.train, self.losses, self.rate)

    def _usual(self, context: Context) -> Choice:
        method = choose_method(self.method, context)
        return Choice(1, method=method, refit=self.refit and method == "activation")

    def _wish(self, context: Context) -> Wish:
        return Wish(self.amount, self.rank, self.energy, self.form, self.slower, self._usual(context))

    def _told(self, sites: Sequence[Site], skipped: Sequence[Skip], context: Context) -> Chosen:
        """Exactly what the settings say. Raises RecipeError for a rank that a layer cannot have."""
        known, reasons = {site.name: site for site in sites}, {skip.site: skip.reason for skip in skipped}
        chosen = Chosen()
        for name, setting in ((name, setting) for name, setting in self.sites.items() if name != SITE):
            choice = parse_choice(name, setting, context)
            if name not in known:
                chosen.skipped.append(Skip(name, reasons.get(name, "the model has no such layer")))
                continue
            shape = known[name].shape
            if choice.share:
                rank = pair_rank(shape, choice.share, choice.multiple or context.target.width_multiple)
                if not 0 < rank <= shape.break_even:
                    chosen.skipped.append(
                        Skip(name, f"two layers would hold more weights than this one of {shape.full}")
                    )
                    continue
                choice = replace(choice, rank=rank, share=0.0)
            linear = known[name].kind in ("linear", "matmul")
            if not shape.fits(choice) or (choice.inner and shape.positions == 1) or (choice.blocks and not linear):
                size = f"a layer of {shape.outputs} outputs, {shape.channels} channels and {shape.positions} positions"
                raise RecipeError(
                    f"{choice.told()} of {size}", where=f"factorize: site {name!r}",
                    way_out=f"A rank is 1 to {shape.full}; inner is for kernels, blocks are for linear layers.",
                )  # fmt: skip
            chosen.choices[name] = [choice]
        return chosen
