"""What every entry keeps, site by site: a share of a dimension's units, a block or not.

    units    those that score highest, ⌈share · n⌋ of each dimension's n: what a smaller entry keeps, all larger ones do
    blocks   sorted: the first ones, then the shared norm and head; else those that change the stream most

(Kavehzadeh et al., 2023, Sorted LLaMA, arXiv:2309.08968, for the exits; scores: `pruning/scores`.)
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Setting, Skip
from compressor.graph.dimensions.groups import Dimension
from compressor.graph.program import Program
from compressor.passes.dropping.candidates import Candidate, candidates_of
from compressor.passes.dropping.choose import from_the_end, influence, least

__all__ = [
    "FULL", "Choice", "Part", "apart", "blocks_out", "mixes", "names_of", "parse_shares", "read_settings",
    "settings_of", "within",
]  # fmt: skip

Part = Literal["auto", "all", "block", "mlp"]
FULL = "full"  # the network itself
_WAY_OUT = 'Write keep = "0.5/0.25", a share an entry, or runs = "1/0".'


@dataclass(frozen=True)
class Choice:
    """What one entry keeps: a share by dimension (all units where none is named), and the blocks that it leaves out."""

    widths: Mapping[str, float] = field(default_factory=dict)
    out: frozenset[str] = frozenset()


def parse_shares(text: object, where: str, *, whole: bool = False) -> tuple[float, ...]:
    """Shares as "0.5/0.25". Raises RecipeError for what is no share; 1 (and of a block 0) is one where `whole`."""
    parts = str(text).split("/")
    found = [float(part) if re.fullmatch(r"\d*\.?\d+", part.strip()) else -1.0 for part in parts]
    if any(not (0 < share < 1) and not (whole and share in (0.0, 1.0)) for share in found):
        raise RecipeError(f"{str(text)!r} are no shares", where=where, way_out="Write what each entry keeps: 0.5/0.25.")
    return tuple(found)


def names_of(text: str, where: str) -> tuple[str, ...]:
    """The entries' names. Raises RecipeError where two are the same, or one cannot be a file's."""
    names = tuple(part.strip() for part in text.split("/"))
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name == FULL]
    if wrong or len(set(names)) < len(names):
        raise RecipeError(
            f"{text!r} does not name the entries", where=where,
            way_out=f"Write names like half/quarter, each another one, none of them {FULL!r}.",
        )  # fmt: skip
    return names


def within(program: Program, dimensions: Sequence[Dimension], part: Part) -> list[Dimension]:
    """The dimensions that are asked for: all, or those that lie in one block, or in one MLP, with all their tensors.

    `auto`: those of blocks where there are any.
    """
    if part == "all":
        return list(dimensions)
    unit: Literal["mlp", "block"] = "mlp" if part == "mlp" else "block"
    found, stay = candidates_of(program, unit)
    del stay  # that they cannot go does not matter here
    parts = [frozenset(each.read) for each in found]
    inner = [one for one in dimensions if any({name for name, *_ in one.spans} <= names for names in parts)]
    return list(dimensions) if part == "auto" and not inner else inner


def blocks_out(
    program: Program, found: Sequence[Candidate], share: float, *, first: bool, batches: Sequence[Batch]
) -> frozenset[str]:
    """The blocks that an entry of this share leaves out: those behind its exit where it runs the `first` ones."""
    count = min(int((1 - share) * len(found) + 0.5), len(found) - 1)
    if count < 1:
        return frozenset()
    if first:
        return frozenset(each.site for each in found[-count:])
    gone = least(found, influence(program, found, batches), count) if batches else from_the_end(found, count)
    return frozenset(each.site for each in gone)


def mixes(choices: Sequence[Choice], count: int, seed: int) -> list[Choice]:
    """Choices that take each dimension's share from another entry, or all of it, and the blocks of one."""
    draw, whole = random.Random(seed), [Choice(), *choices]
    sites = list(dict.fromkeys(site for choice in choices for site in choice.widths))
    return [
        Choice({site: draw.choice(whole).widths.get(site, 1.0) for site in sites}, draw.choice(whole).out)
        for _ in range(count)
    ]


def apart(names: Sequence[str], choices: Sequence[Choice]) -> tuple[list[str], list[Choice], list[Skip]]:
    """The entries that are smaller than the network, each another one, and why the others are not made."""
    kept: dict[str, Choice] = {}
    skipped: list[Skip] = []
    for name, choice in zip(names, choices, strict=True):
        same = next((other for other, known in kept.items() if known == choice), None)
        if not choice.out and all(share == 1 for share in choice.widths.values()):
            skipped.append(Skip(f"entry {name}", "nothing in the network can be left out for it", whole=True))
        elif same is not None:
            skipped.append(Skip(f"entry {name}", f"it would be the same as {same}", whole=True))
        else:
            kept[name] = choice
    return list(kept), list(kept.values()), skipped


def settings_of(choices: Sequence[Choice]) -> dict[str, Setting]:
    """The sites of a recipe: what each entry keeps there, in the entries' order."""
    widths = dict.fromkeys(site for choice in choices for site in choice.widths)
    blocks = sorted({site for choice in choices for site in choice.out})
    found: dict[str, dict[str, str]] = {
        site: {"keep": "/".join(f"{choice.widths.get(site, 1.0):g}" for choice in choices)} for site in widths
    }
    for site in blocks:
        runs = "/".join("0" if site in choice.out else "1" for choice in choices)
        found[site] = {**found.get(site, {}), "runs": runs}
    return dict(found)


def read_settings(sites: Mapping[str, Setting], count: int) -> list[Choice]:
    """The choices of so many entries. Raises RecipeError, naming the site, for what cannot be read."""
    widths: list[dict[str, float]] = [{} for _ in range(count)]
    out: list[set[str]] = [set() for _ in range(count)]
    for site, setting in sites.items():
        where = f"elastic: site {site!r}"
        if not setting or set(setting) - {"keep", "runs"}:
            raise RecipeError(f"keys are {sorted(setting)}", where=where, way_out=_WAY_OUT)
        for key, text in setting.items():
            shares = parse_shares(text, where, whole=True)
            wrong = set(shares) - {0.0, 1.0} if key == "runs" else {0.0} & set(shares)
            if len(shares) != count or wrong:
                raise RecipeError(f"{key} is {text!r}, of {count} entries", where=where, way_out=_WAY_OUT)
            for place, share in enumerate(shares):
                if key == "keep":
                    widths[place][site] = share
                elif share == 0:
                    out[place].add(site)
    return [Choice(w, frozenset(o)) for w, o in zip(widths, out, strict=True)]
