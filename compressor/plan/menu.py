"""The sites of a plan and what could be done at each: every pass' offers, a few levels of each.

site = pass and place: "prune:blocks.1.conv1"        option = level: "−25%", "−50%", "−75%"
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from compressor.cache import Shelf
from compressor.graph.contract import Context, Option, Pass, Setting
from compressor.graph.program import Program
from compressor.passes import PASSES, find_pass
from compressor.plan.common import common

__all__ = ["Place", "collect"]

FEW = 3  # levels that are kept of a site that offers more than one more


@dataclass(frozen=True)
class Place:
    """A site of one pass, with its options from the mildest on; `means` is the pass that carries them out."""

    means: Pass
    site: str
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        return f"{self.means.name}:{self.site}"

    def setting(self, number: int) -> Setting:
        """What asks for an option, whatever other passes have done before."""
        option = self.options[number]
        return option.setting if option.wish is None else option.wish


def collect(
    program: Program, context: Context, axes: Collection[str], keep: Sequence[str] = (), shelf: Shelf | None = None
) -> list[Place]:  # fmt: skip
    """What every pass offers, in the order in which passes run. Options that leave a site as it is are none.

    `shelf` keeps the lists, for the same program, axes and `keep`, and for all targets that a pass takes for the same.
    """
    target = replace(context.target, width_multiple=common(context.target).width_multiple)
    bare = replace(context, target=target, latency=None, unweighed=bool(context.calibration))  # weighed later
    kinds = sorted((find_pass(name) for name in PASSES), key=lambda kind: (kind.order, kind.name))
    digest, places = program.hash(), list[Place]()
    for kind in kinds:
        means = [replace(each, keep=tuple(keep)) for each in kind.planned(bare, axes)]
        if not means:
            continue
        key = f"menu {digest} {means} {kind.reads(target)}"
        found = None if shelf is None else shelf.recall(key, _read)
        if found is None:
            context.progress.say(f"what {kind.name} could do")
            found = _offered(means, program, bare)
            if shelf is not None:
                shelf.keep(key, [(site, [asdict(option) for option in options]) for site, options in found.items()])
        places += [Place(means[0], site, _few(options)) for site, options in found.items()]
    return places


def _offered(means: Sequence[Pass], program: Program, context: Context) -> dict[str, list[Option]]:
    found: dict[str, list[Option]] = {}
    for each in means:
        for option in each.options(program, context):
            if option.level:
                found.setdefault(option.site, []).append(option)
    return found


def _read(said: Any) -> dict[str, list[Option]]:
    return {site: [Option(**each) for each in options] for site, options in said}


def _few(options: Sequence[Option]) -> tuple[Option, ...]:
    """By bytes from the largest on; of many, evenly spread ones."""
    unique = {option.level: option for option in options}
    ordered = sorted(unique.values(), key=lambda option: -option.bytes)
    if len(ordered) <= FEW + 1:
        return tuple(ordered)
    step = (len(ordered) + 1) / (FEW + 1)
    return tuple(ordered[round((number + 1) * step) - 1] for number in range(FEW))
