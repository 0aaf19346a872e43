"""Let weights have several uses: fewer bytes, the same work.

    W_b ← W_r   for every block b of a group        norms and biases stay each block's own; the file holds W_r once

Groups are pairs, neighbours alike by CKA (CRaSh, Zhang et al., 2023, arXiv:2310.15477; FoldGPT, Liu et al., 2024,
arXiv:2407.00928), all but the ends (Subformer, Reid et al., 2021, arXiv:2101.00234), or all blocks' MLPs (MobiLlama,
Thawakar et al., 2024, arXiv:2402.16840); an MLP's two matrices become one (`sharing/transposed.py`), or all weights
share slots at random (`sharing/slots.py`). Every block still runs: no time is saved, unless with `repeat=false` one
block stands for its group and the others go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context, Option, Pass, PassResult, Setting, Value
from compressor.graph.program import Program
from compressor.passes.reading.options import refuse_idle
from compressor.passes.reading.samples import limited
from compressor.passes.recover.judge import Judge
from compressor.passes.sharing.clusters import Groups
from compressor.passes.sharing.groups import NO_TIME, Grouping
from compressor.passes.sharing.plan import Asked
from compressor.passes.sharing.settings import parse_told
from compressor.passes.sharing.slots import SITE, in_slots, parse_slots
from compressor.passes.sharing.transposed import tied
from compressor.passes.sharing.units import Norms, Part
from compressor.passes.sharing.values import Weights

__all__ = ["Share"]

How = Literal["pairs", "cka", "sandwich", "random"]
ALL = "all"
OF_BLOCKS = ("part", "weights", "norms", "repeat", "tie", "samples")  # options that say nothing of weights in slots
OF_GROUPS = ("groups", "part", "norms", "repeat")  # those that say nothing where no block shares with another


@dataclass(frozen=True)
class Share(Pass):
    """Give groups of neighbouring blocks one set of weights.

    blocks: how many blocks share; "all" of a chain; 1 is none. With groups=random, how many weights share a slot.
    groups: "pairs" are of exactly so many, "cka" of so many on average, the most alike together; "sandwich" all but the
        first and the last block; "random" is no blocks, but all layers' weights as views into one array.
    part: what of a block is shared: the "block", its "mlp" or its "mixer" alone.
    weights: the set that a group is given: the "central" block's, the blocks' "mean", "merged" to fit all blocks'
        inputs, or "fitted", whichever changes the outputs least; "auto" is fitted where there is data, else central.
    norms: each block keeps its "own" norms, biases and scales, or they are "shared", too.
    repeat: run every block; without, the central block of a group stays and the others go (CRaSh's sub-network).
    tie: "ffn" makes an MLP's second matrix the first one's transpose, in every block.
    samples: how many calibration samples CKA and the fit see.
    """

    name: ClassVar[str] = "share"
    main: ClassVar[str] = "blocks"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 20
    blocks: str = "2"
    groups: How = "pairs"
    part: Part = "block"
    weights: Weights = "auto"
    norms: Norms = "own"
    repeat: bool = True
    tie: Literal["none", "ffn"] = "none"
    samples: int = 32

    def __post_init__(self) -> None:
        """Raises RecipeError for options that make no sense."""
        if self.groups == "random":
            parse_slots({"weights_a_slot": self.blocks, "seed": 0})
            refuse_idle(self, OF_BLOCKS, "groups=random", "give it to a second share in the list")
        elif self.blocks != ALL and not (self.blocks.isdecimal() and int(self.blocks) > 0):
            raise RecipeError(f"blocks is {self.blocks!r}", where="share", way_out="It is 2 or more, or all.")
        elif self.blocks != ALL and int(self.blocks) == 1 and self.tie == "none" and not self.sites:
            raise RecipeError(
                "blocks is 1, which shares none", where="share", way_out="Take 2 or more, all, or tie=ffn."
            )
        if self.samples < 1:
            raise RecipeError(f"samples is {self.samples}; one is needed at least", where="share")
        if self.blocks == "1" and self.groups != "random":
            refuse_idle(self, OF_GROUPS, "share=1", "take 2 blocks or more")
        elif self.groups == "sandwich":
            refuse_idle(self, ("blocks",), "groups=sandwich", "count blocks with groups=pairs or groups=cka")
        if not self.repeat:
            refuse_idle(self, ("norms",), "repeat=false", "let every block run: repeat=true")
        if not self.repeat and (self.part != "block" or self.weights not in ("auto", "central")):
            raise RecipeError(
                "without repeat a whole block stays with its own weights", where="share",
                way_out="Leave part and weights out, or repeat=true.",
            )  # fmt: skip
        for site, setting in self.sites.items():
            if site == SITE:
                parse_slots(setting)
            elif "tied" not in setting:
                parse_told(site, setting)

    def milder(self) -> Mapping[str, Value] | None:
        """Fewer blocks a group, then the MLPs alone; fewer weights a slot."""
        if self.groups == "random":
            return {"blocks": f"{float(self.blocks) / 2:g}"} if float(self.blocks) >= 4 else None
        if self.blocks == ALL or self.groups == "sandwich":
            return {"blocks": "2", "groups": "pairs"}
        if int(self.blocks) > 2:
            return {"blocks": str(int(self.blocks) // 2)}
        return {"part": "mlp"} if self.blocks == "2" and self.part == "block" and self.repeat else None

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),) if "size" in axes else ()  # every block still runs

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """Every group alone, and of whole blocks their MLPs alone, too; with tie=ffn, every pair of matrices. Bytes are
        those of the program with it."""
        batches = limited(program, context.calibration, self.samples)
        judge = Judge(program, batches) if batches and not context.unweighed else None
        for site, setting in self._offers(program, batches, context):
            done = replace(self, sites={site: setting}).run(program, context).program
            latency = context.latency.predict(done, context.target).latency_ms if context.latency else None
            damage = judge.damage(done) if judge else None
            yield Option(site, setting, done.unique_bytes(), latency, damage, f"shared {setting.get('part', 'matrix')}")

    def _offers(self, program: Program, batches: Sequence[Batch], context: Context) -> Iterator[tuple[str, Setting]]:
        if self.blocks != "1" and self.groups != "random":
            for part in dict.fromkeys((self.part, "mlp") if self.repeat else (self.part,)):
                yield from self._grouping(part).offers(program, batches, context)
        if self.tie == "ffn":
            yield from tied(program, self.weights, None, self.keep, batches, context).settings.items()

    def run(self, program: Program, context: Context) -> PassResult:
        if self.groups == "random" and not self.sites:
            return in_slots(program, float(self.blocks), context.seed, self.keep)
        batches = limited(program, context.calibration, self.samples)
        sites = self.sites or None
        told = {site: setting for site, setting in self.sites.items() if site != SITE and "tied" not in setting}
        pairs = {site: setting for site, setting in self.sites.items() if "tied" in setting}
        done = PassResult(program)
        if told if sites else self.blocks != "1":
            done = self._grouping(self.part).run(program, told if sites else None, batches, context)
        if pairs if sites else self.tie == "ffn":
            more = tied(done.program, self.weights, pairs if sites else None, self.keep, batches, context)
            done = _both(done, more)
        if SITE in self.sites:
            done = _both(done, in_slots(done.program, *parse_slots(self.sites[SITE]), self.keep))
        return done

    def _grouping(self, part: Part) -> Grouping:
        size = 0 if self.blocks == ALL else int(self.blocks)
        groups: Groups = "pairs" if self.groups == "random" else self.groups
        return Grouping(Asked(size, groups, part, self.norms, self.keep), self.weights, self.repeat)


def _both(first: PassResult, then: PassResult) -> PassResult:
    """What two rewrites did, one after the other."""
    settings: dict[str, Setting] = {**first.settings, **then.settings}
    notes = tuple(dict.fromkeys((*first.notes, *then.notes, NO_TIME)))
    changed = tuple(dict.fromkeys((*first.changed, *then.changed)))
    return PassResult(then.program, changed, (*first.skipped, *then.skipped), settings, notes)
