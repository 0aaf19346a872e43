"""Checks of distillation into a student from scratch, on Fashion-MNIST: figures are accuracies on 4,000 test images."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from models import load
from models.vit import Vit
from torch import nn

from compressor.export.onnx import to_onnx
from compressor.graph.program import Program
from compressor.passes.recover import Settings, recover
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal
from .vision import Small, accuracy, lessons, program_of

__all__ = ["CLAIMS", "teacher"]

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

CLAIMS = (HINTON, OFA)
