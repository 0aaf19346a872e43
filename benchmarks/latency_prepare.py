"""Lowers the whole models that the latency model is judged on into a folder: random members of classic families, as
they are and as compression leaves them.

    python benchmarks/latency_prepare.py FOLDER [--count 324]

A model that is there already is left alone, so that a run that was cut off goes on. `wanted` lists what is prepared.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latency_models import FAMILIES, TRANSFORMERS, variant
from latency_treatments import dropped, low_rank

COUNT = 378
_HOWS = ("plain", "plain", "int8", "plain", "pruned", "plain", "int8", "lowrank", "dropped")
_MILLISECONDS, _BYTES = (0.4, 32.0), 120e6  # by the roofline: what is smaller or larger is no edge model
_SHARES = (0.2, 0.3, 0.4, 0.5)  # of full rank


@dataclass(frozen=True)
class Wanted:
    family: str
    seed: int
    how: str

    @property
    def name(self) -> str:
        return f"{self.family}-{self.seed}-{self.how}"


def wanted(count: int, first: int = 1000) -> Iterator[Wanted]:
    """Families in turn; what is done to them turns more slowly."""
    families = list(FAMILIES)
    for index in range(count):
        family, turn = families[index % len(families)], index // len(families)
        how = _HOWS[(turn + index) % len(_HOWS)]
        if family in TRANSFORMERS and how == "int8" and turn % 3:
            how = ("int4", "int2")[(turn + index) % 2]
        yield Wanted(family, first + index, how)


def prepare(each: Wanted, folder: Path) -> str:
    """Lower one; what came of it, in a word or two."""
    from compressor.devices.latency.subject import lower
    from compressor.graph.cost import Roofline
    from compressor.profile_networks import captured
    from compressor.targets import load_target

    target = load_target("host")
    built = variant(each.family, each.seed)
    if each.how == "lowrank" and not low_rank(built.module, random.Random(each.seed).choice(_SHARES)):
        return "no layer to factorize"
    if each.how == "dropped" and not dropped(built.module):
        return "no block to drop"
    how = "plain" if each.how in ("lowrank", "dropped") else each.how
    program = captured(built.module, built.args, built.kwargs, how, each.seed, target)
    estimate = Roofline().predict(program, target)
    if not _MILLISECONDS[0] <= estimate.latency_ms <= _MILLISECONDS[1] or program.unique_bytes() > _BYTES:
        return f"left out: {estimate.latency_ms:.1f} ms by the roofline, {program.unique_bytes() / 1e6:.0f} MB"
    lower(program, target, folder, each.name, f"{each.family} {each.how}")
    return "prepared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--start", type=int, default=0, help="leave out so many, for a second process beside a first")
    parser.add_argument(
        "--first", type=int, default=1000, help="seed of the first; from 2000 on, models nobody has seen"
    )
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    warnings.filterwarnings("ignore")
    from compressor.errors import CompressError

    options.folder.mkdir(parents=True, exist_ok=True)
    for each in itertools.islice(wanted(options.count, options.first), options.start, None):
        if not (options.folder / f"{each.name}.json").exists():
            try:
                outcome = prepare(each, options.folder)
            except CompressError as error:
                outcome = f"failed: {error}"
            print(each.name, outcome, flush=True)
            gc.collect()


if __name__ == "__main__":
    main()
