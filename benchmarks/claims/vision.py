"""Checks on Fashion-MNIST: figures are accuracies on 4,000 test images, unless they say otherwise."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator

import torch
from models import fashion, load
from models.training import one_cycle
from models.vit import Vit
from subjects import SUBJECTS, Subject
from torch import Tensor, nn
from torch.nn import functional

from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.dimensions.groups import analyse
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.scores import Score
from compressor.passes.recover import Settings, recover
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS", "Small"]

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

# ---------------------------------------------------------------------------------------------------------- Hinton

FEW = 0.05
HINTON_IMAGES = 10000
WIDTH = 16


@functools.cache
def teacher(name: str) -> Program:
    return program_of(load(name))


def student(
    model: Callable[[], nn.Module], name: str, losses: str, count: int, epochs: int, seed: int, **more: float
) -> Program:
    """A network from scratch, taught by a trained one with these losses; labels are given."""
    torch.manual_seed(seed)
    fresh = program_of(model())
    batches = lessons(fresh, count, seed, True)
    held = lessons(fresh, 256, 7, True)
    settings = Settings(rate=3e-3, **more)  # type: ignore[arg-type]
    return recover(
        fresh, teacher(name), batches, f"{epochs}epochs", losses=losses, settings=settings, held=held, seed=seed
    ).program


def hinton(losses: str, count: int, epochs: int, temperature: float = 4.0) -> Callable[[int], Figures]:
    def arm(seed: int) -> Figures:
        small = functools.partial(Small, WIDTH)
        return {"accuracy": accuracy(student(small, "resnet", losses, count, epochs, seed, temperature=temperature))}

    return arm


def _few() -> int:
    return int(FEW * HINTON_IMAGES)


def shift(squared: bool, seed: int) -> Figures:
    """What a high weight of the soft term gains over a low one, at T = 8 more than at T = 2: 0 where a change of T
    leaves the best weight where it is. `kl` carries T²; a weight divided by T² is what it would be without."""

    def gain(temperature: float) -> float:
        carried = 1.0 if squared else temperature**2
        low, high = (
            hinton(f"{1 - weight}*ce+{weight / carried}*kl", _few(), 20, temperature)(seed)["accuracy"]
            for weight in (0.1, 0.9)
        )
        return high - low

    cold, hot = gain(2.0), gain(8.0)
    return {"shift": hot - cold, "at 2": cold, "at 8": hot}


HINTON = Claim(
    "hinton", "a CNN of 0.5 MMAC, taught by the ResNet, 10,000 images for 4 epochs, or 500 of them for 40",
    {
        "ce": hinton("ce", HINTON_IMAGES, 4), "kd": hinton("0.1*ce+0.9*kl", HINTON_IMAGES, 4),
        "ce-few": hinton("ce", _few(), 40), "kd-few": hinton("0.1*ce+0.9*kl", _few(), 40),
        "squared": functools.partial(shift, True), "plain": functools.partial(shift, False),
    },
    [
        Goal("distilled against cross entropy", "kd.accuracy", "ce.accuracy", "points", 0.005),
        Goal("the same with 5% of the labels", "kd-few.accuracy", "ce-few.accuracy", "points", 0.02),
        Goal("how much more T = 8 wants a high weight, without T² against with it", "plain.shift", "squared.shift",
             "points", 0.002),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------------- OFA-KD

OFA_IMAGES, OFA_EPOCHS = 6000, 4


def small_vit() -> nn.Module:
    return Vit(width=64, depth=4, heads=2)


def across(model: Callable[[], nn.Module], name: str, losses: str) -> Callable[[int], Figures]:
    def arm(seed: int) -> Figures:
        found = student(model, name, losses, OFA_IMAGES, OFA_EPOCHS, seed)
        return {"accuracy": accuracy(found), "alike": float(_exported(found) == _exported(program_of(model())))}

    return arm


def _exported(program: Program) -> list[str]:
    """The kinds of an exported graph's nodes, and the shapes of the program's weights."""
    graph = to_onnx(program, load_target("host")).model.graph
    return [node.op_type for node in graph] + [str(tensor.shape) for tensor in program.tensors().values()]


LOSSES = {"ofa": "ofa", "hint": "output+hidden", "logit": "output"}
OFA = Claim(
    "ofa-kd", "ViT teacher and CNN student, ResNet teacher and ViT student; 6,000 images for 4 epochs",
    {
        **{f"cnn-{name}": across(functools.partial(Small, 32), "vit", losses) for name, losses in LOSSES.items()},
        **{f"vit-{name}": across(small_vit, "resnet", losses) for name, losses in LOSSES.items()},
    },
    [
        *(
            Goal(f"{kind}: branches against {arm}s", f"{kind}-ofa.accuracy", f"{kind}-{arm}.accuracy", "points", by)
            for kind in ("cnn", "vit")
            for arm, by in (("hint", 0.005), ("logit", 0.0))
        ),
        *(
            Goal(f"{kind}: the exported graph is the student's alone", f"{kind}-ofa.alike", "1", "points", 0.0)
            for kind in ("cnn", "vit")
        ),
    ],
)  # fmt: skip

CLAIMS = (OTO, SLIM, HINTON, OFA)
