"""The sites of a plan and what could be done at each: every pass' offers, a few levels of each.

site = pass and place: "prune:blocks.1.conv1"        option = level: "−25%", "−50%", "−75%"
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from compressor.cache import Shelf, write_json
from compressor.graph.contract import Context, Option, Pass, Setting
from compressor.graph.program import Program
from compressor.passes import PASSES, find_pass

__all__ = ["Place", "collect"]

_FILE = "menu.json"
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

    `shelf` keeps the lists, for the same program, axes and `keep`.
    """
    kinds = sorted((find_pass(name) for name in PASSES), key=lambda kind: (kind.order, kind.name))
    digest, places = program.hash(), list[Place]()
    for kind in kinds:
        means = [replace(each, keep=tuple(keep)) for each in kind.planned(context, axes)]
        if not means:
            continue
        key = f"menu {digest} {means}"
        found = None if shelf is None else _kept(shelf, key)
        if found is None:
            context.progress.say(f"what {kind.name} could do")
            found = _offered(means, program, context)
            said = [(site, [asdict(option) for option in options]) for site, options in found.items()]
            if shelf is not None:
                shelf.store(key, lambda folder, said=said: write_json(folder / _FILE, said))  # type: ignore[misc]
        places += [Place(means[0], site, _few(options)) for site, options in found.items()]
    return places


def _offered(means: Sequence[Pass], program: Program, context: Context) -> dict[str, list[Option]]:
    found: dict[str, list[Option]] = {}
    for each in means:
        for option in each.options(program, context):
            if option.level:
                found.setdefault(option.site, []).append(option)
    return found


def _kept(shelf: Shelf, key: str) -> dict[str, list[Option]] | None:
    folder = shelf.find(key)
    if folder is None:
        return None
    try:
        said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {site: [Option(**each) for each in options] for site, options in said}
    except (OSError, ValueError, TypeError):
        return None  # it is asked anew


def _few(options: Sequence[Option]) -> tuple[Option, ...]:
    """By bytes from the largest on; of many, evenly spread ones."""
    unique = {option.level: option for option in options}
    ordered = sorted(unique.values(), key=lambda option: -option.bytes)
    if len(ordered) <= FEW + 1:
        return tuple(ordered)
    step = (len(ordered) + 1) / (FEW + 1)
    return tuple(ordered[round((number + 1) * step) - 1] for number in range(FEW))
