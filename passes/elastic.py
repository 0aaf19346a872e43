"""One training for several sizes: smaller networks that are rows of the program's own weights learn along with it.

    θ ← θ − η ∇ Σ_e L(program_e(x; θ[rows_e]), lesson)        e: the program itself, and the entries

It starts from the trained program: the units of every dimension are in the order of their worth (`pruning/scores`), so
that the entry of half the units has the better half. Who learns in a step from whom is told by `how`
(`recover/family`). What comes out is the program with its entries, which an artifact ships over one set of weights.
(Yu et al., 2020, BigNAS, arXiv:2003.11142; Sarah et al., 2023, InstaTune, arXiv:2308.15609; Devvrit et al., 2023,
MatFormer, arXiv:2310.07707; Kavehzadeh et al., 2023, Sorted LLaMA, arXiv:2309.08968.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context, Pass, PassResult, Skip
from compressor.graph.dimensions.groups import analyse
from compressor.graph.program import Program
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.nesting.choice import (
    Choice,
    Part,
    apart,
    blocks_out,
    mixes,
    names_of,
    parse_shares,
    read_settings,
    settings_of,
    within,
)  # fmt: skip
from compressor.passes.nesting.entry import Maker, calibrated
from compressor.passes.nesting.lesson import NONE, SITE, Lesson
from compressor.passes.nesting.order import ordered
from compressor.passes.nesting.train import train
from compressor.passes.pruning.choose import Chooser, Ranked
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.scores import Score
from compressor.passes.reading.samples import limited
from compressor.passes.recover.family import How

__all__ = ["Elastic"]


@dataclass(frozen=True)
class Elastic(Pass):
    """Train the program and smaller ones over the same weights, all of which the bundle then ships.

    shares: what each entry keeps: "0.5/0.25" of the units, of the blocks, or of both.
    along: what they are shares of: "width" (units), "depth" (blocks), "both"; "auto" is depth for sorted, else width.
    part: whose units: "all", those inside of a "block", or of an "mlp"; "auto" is block where there are any.
    how: "sandwich" trains the program, the smallest entry and two others in every step, which learn from the program;
        "nested" one of all, drawn; "sorted" all of them.
    inplace: in a sandwich the entries learn from the program's own outputs; false: from the original's.
    mixes: networks with a share drawn at each site, which a sandwich trains besides.
    score: what a unit is worth, as prune has it.
    samples: how many calibration samples are looked at.
    train: how long: "600steps", "3epochs", "5min", or none.
    losses: what is compared while training, as recover has it.
    rate: peak learning rate; none: recover's.
    """

    name: ClassVar[str] = "elastic"
    main: ClassVar[str] = "shares"
    trains: ClassVar[bool] = True
    last: ClassVar[bool] = True
    shares: str = "0.5/0.25"
    along: Literal["auto", "width", "depth", "both"] = "auto"
    part: Part = "auto"
    how: How = "sandwich"
    inplace: bool = True
    mixes: int = 4
    score: Score = "auto"
    samples: int = 128
    train: str = "600steps"
    losses: str = "auto"
    rate: float | None = None

    def __post_init__(self) -> None:
        """Raises RecipeError for what makes no sense."""
        lesson = self._lesson()
        if self.sites:
            told = {site: setting for site, setting in self.sites.items() if site != SITE}
            read_settings(told, len(names_of(lesson.names, self.name)))
        shares = parse_shares(self.shares, "elastic: shares")
        if list(shares) != sorted(set(shares), reverse=True):
            raise RecipeError(f"shares are {self.shares!r}", where="elastic", way_out="The largest first: 0.5/0.25.")

    def learns(self) -> bool:
        return self._lesson().train != NONE

    def run(self, program: Program, context: Context) -> PassResult:
        base, asked = prepared(program), self._lesson()
        seen = limited(base, context.calibration, asked.samples)
        ranked = self._ranked(base, asked.score, seen, context)
        choices, skipped = self._read(ranked, asked) if self.sites else (self._chosen(ranked, seen), [])
        names, choices, alike = apart(names_of(asked.names, self.name), choices)
        if not choices:
            return PassResult(program, (), (*skipped, *alike))
        lesson = replace(asked, names="/".join(names))
        maker = Maker(ordered(ranked, {site for each in choices for site in each.widths}, seen))
        entries = [maker.make(choice) for choice in choices]
        count = lesson.mixes if lesson.how == "sandwich" and lesson.train != NONE else 0
        others = [maker.make(choice) for choice in mixes(choices, count, context.seed)]
        done = train(maker.program, entries, others, lesson, self.keep, context)
        batches = context.training or context.calibration
        made = {n: calibrated(each, done.program, batches) for n, each in zip(names, entries, strict=True)}
        told = ", ".join(f"{name} {each.program.parameters():,}" for name, each in made.items())
        changed = dict.fromkeys(name for each in entries for name in each.rows)  # what entries read is in order
        return PassResult(
            done.program, tuple(changed), (*skipped, *alike, *done.skipped),
            {SITE: done.setting, **settings_of(choices)},
            (*done.notes, f"parameters of the entries: {told}, of {done.program.parameters():,}"), entries=made,
        )  # fmt: skip

    def _lesson(self) -> Lesson:
        """What the sites say, else the options. Raises RecipeError for what makes no sense."""
        if (told := Lesson.read(self.sites)) is not None:
            return told
        if self.sites:
            raise RecipeError("the sites do not say how it is trained", where=self.name, way_out=f"Keep site {SITE!r}.")
        return Lesson(
            self.train, self.losses, self.rate, "", self.shares, self.how, self.inplace, self.mixes, self.score,
            self.samples,
        )  # fmt: skip

    def _ranked(self, base: Program, score: Score, seen: Sequence[Batch], context: Context) -> Ranked:
        """The units in the order of their worth; none where blocks alone are chosen from."""
        wanted = any("keep" in setting for setting in self.sites.values()) if self.sites else self._along != "depth"
        if not wanted:
            return Ranked(analyse(base), (), {}, ())
        return Chooser(score, "uniform", 0, 0.0, self.keep).ranked(analyse(base), seen, context)

    @property
    def _along(self) -> str:
        return self.along if self.along != "auto" else "depth" if self.how == "sorted" else "width"

    def _chosen(self, ranked: Ranked, seen: Sequence[Batch]) -> list[Choice]:
        base, first = ranked.dimensions.program, self.how == "sorted"
        units = within(base, [one.dimension for one in ranked.ladders], self.part)
        blocks = candidates_of(base, "block", self.keep)[0] if self._along != "width" else []
        return [
            Choice({one.name: share for one in units}, blocks_out(base, blocks, share, first=first, batches=seen))
            for share in parse_shares(self.shares, f"{self.name}: shares")
        ]

    def _read(self, ranked: Ranked, lesson: Lesson) -> tuple[list[Choice], list[Skip]]:
        """What the sites say of what is there, and what is not."""
        blocks = candidates_of(ranked.dimensions.program, "block")[0]
        known = {*(one.dimension.name for one in ranked.ladders), *(each.site for each in blocks)}
        told = {site: setting for site, setting in self.sites.items() if site != SITE}
        absent = [Skip(site, "the model has no such dimension or block") for site in told if site not in known]
        there = {site: setting for site, setting in told.items() if site in known}
        return read_settings(there, len(names_of(lesson.names, self.name))), absent
