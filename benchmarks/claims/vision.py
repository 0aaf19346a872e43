"""Checks on Fashion-MNIST: figures are accuracies on 4,000 test images, unless they say otherwise."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterator

import torch
from models import fashion
from models.training import one_cycle
from subjects import SUBJECTS, Subject
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.dimensions.groups import analyse
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.scores import Score
from compressor.passes.recover import recover
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS", "Small", "accuracy", "lessons", "program_of", "vit"]

TESTS, BATCH = 4000, 64


class Small(nn.Module):
    """Three convolutions and a linear layer: 2 MMAC, 61,000 parameters at width 32, four times less of each at 16."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [1, width, 2 * width, 2 * width]
        self.layers = nn.Sequential(
            *itertools.chain.from_iterable(
                (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in itertools.pairwise(widths)
            )
        )
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean((2, 3)))


def program_of(model: nn.Module) -> Program:
    images, _ = fashion.tensors("test")
    return capture(copy.deepcopy(model).eval(), (images[:2],)).program


def accuracy(program: Program) -> float:
    images, labels = fashion.tensors("test")
    right = 0
    for start in range(0, TESTS, 250):
        [scores] = program.run({program.inputs[0].name: images[start : start + 250]}).values()
        right += int((scores.argmax(1) == labels[start : start + 250]).sum())
    return right / TESTS


def lessons(program: Program, count: int, seed: int, labelled: bool) -> list[Batch]:
    """`count` training images in batches, with their labels or without."""
    images, labels = fashion.tensors("train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    key = program.inputs[0].name
    return [
        {key: images[rows], **({"labels": labels[rows]} if labelled else {})} for rows in order.split(BATCH)
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- OTOv2

IMAGES, EPOCHS = 12000, 6
GONE = 0.7  # of the groups
OTO_WIDTH = 40  # of which 30% are whole channels


def steps() -> int:
    return EPOCHS * IMAGES // BATCH


def epoch(seed: int, model: nn.Module) -> Iterator[Tensor]:
    """What a user's training function yields: the loss of every batch of an epoch."""
    images, labels = fashion.tensors("train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:IMAGES]
    for rows in order[torch.randperm(IMAGES)].split(BATCH):
        if len(rows) == BATCH:
            yield functional.cross_entropy(model(images[rows]), labels[rows])


def dense(seed: int) -> Figures:
    """The same network, data, steps, optimizer and peak rate; nothing goes."""
    torch.manual_seed(seed)
    model = Small(OTO_WIDTH).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    feed = itertools.chain.from_iterable(epoch(seed, model) for _ in itertools.count())
    for step in range(steps()):
        optimizer.param_groups[0]["lr"] = 3e-3 * one_cycle(step / steps())
        optimizer.zero_grad()
        next(feed).backward()
        optimizer.step()
    return {"accuracy": accuracy(program_of(model))}


def trained_once(seed: int) -> Figures:
    """From scratch, with penalties that drive 70% of the groups to zero; cut, and not trained any more."""
    torch.manual_seed(seed)
    program = prepared(program_of(Small(OTO_WIDTH)))
    total = sum(len(one.units) for one in analyse(program).dimensions)
    context = Context(
        load_target("host"), latency=Roofline(), synthetic=False, seed=seed, train=functools.partial(epoch, seed)
    )
    amount = 1 - _share_of_macs(1 - GONE)
    pruned = Prune(amount=amount, how="dhspg", steps=steps(), multiple=1, least=0.0, rate=3e-3, score="magnitude")
    smaller = pruned.run(program, context).program
    left = sum(len(one.units) for one in analyse(smaller).dimensions)
    return {"accuracy": accuracy(smaller), "gone": 1 - left / total}


def _share_of_macs(kept: float) -> float:
    """Of `Small`, when this share of every width is kept."""
    macs = [
        Roofline().predict(program_of(Small(width)), load_target("host")).macs
        for width in (OTO_WIDTH, round(OTO_WIDTH * kept))
    ]
    return macs[1] / macs[0]


OTO = Claim(
    "otov2", "a small CNN on 12,000 images for 6 epochs from scratch, 70% of the groups gone, not trained afterwards",
    {"dense": dense, "once": trained_once},
    [
        Goal("train-once against dense", "once.accuracy", "dense.accuracy", "points", -0.015),
        Goal("share of the groups gone", "once.gone", "0.7", "points", -0.001),
    ],
)  # fmt: skip

# --------------------------------------------------------------------------------------------------------- SlimSAM

SLIM_IMAGES, SLIM_STEPS = 4096, 96


@functools.cache
def vit() -> Subject:
    return SUBJECTS["vit"](TESTS)


def _context(seed: int, labelled: bool = False) -> Context:
    program = vit().program
    return Context(
        load_target("host"), latency=Roofline(), calibration=lessons(program, 256, seed, labelled), synthetic=False,
        training=lessons(program, SLIM_IMAGES, 1000 + seed, False), seed=seed,
    )  # fmt: skip


def slimmed(how: str, seed: int) -> Figures:
    """60% of the multiply–accumulates go, without labels; the stages share the steps, or one recovery has them all."""
    between = SLIM_STEPS // 2 if how == "alternating" else SLIM_STEPS
    found = Prune(amount=0.6, score="disturbed", how=how, between=f"{between}steps", samples=256, rounds=1)
    context = _context(seed)
    smaller = found.run(vit().program, context).program
    if how == "one-shot":
        for losses in ("0.5*output+0.5*hidden", "output"):  # as each stage of alternating ends
            steps = f"{SLIM_STEPS // 2}steps"
            smaller = recover(smaller, vit().program, context.training, steps, losses=losses, seed=seed).program
    return {"error": _error(smaller), "accuracy": accuracy(smaller)}


def _error(program: Program) -> float:
    """Mean squared distance of the scores from the dense network's, relative to those."""
    batch = {program.inputs[0].name: fashion.tensors("test")[0][:1000]}
    [ours], [theirs] = program.run(batch).values(), vit().program.run(batch).values()
    return float((ours - theirs).square().mean() / theirs.square().mean())


def chosen_by(score: Score, seed: int) -> Figures:
    """60% by this score and fitted; the labelled one is Taylor's of the cross entropy."""
    pruned = Prune(amount=0.6, score=score, samples=256)
    return {"accuracy": accuracy(pruned.run(vit().program, _context(seed, labelled=score != "disturbed")).program)}


SLIM = Claim(
    "slimsam", "ViT without labels to 40% of its multiply–accumulates; 96 steps on 4,096 images",
    {
        "alternating": functools.partial(slimmed, "alternating"),
        "one-shot": functools.partial(slimmed, "one-shot"),
        "disturbed": functools.partial(chosen_by, "disturbed"),
        "taylor": functools.partial(chosen_by, "taylor-element1"),
    },
    [
        Goal("outputs' error, alternating against one-shot", "alternating.error", "one-shot.error", "ratio", 0.95),
        Goal("disturbed Taylor against Taylor", "disturbed.accuracy", "taylor.accuracy", "points", -0.005),
    ],
)  # fmt: skip

CLAIMS = (OTO, SLIM)
