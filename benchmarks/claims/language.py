"""Checks on the byte-level GPT: figures are perplexities on held-out pages, before and after recovery."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from models import load
from models.gpt import Gpt
from subjects import SUBJECTS, Subject

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimension, analyse
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.pruning.allocate import Allocation
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.job import prepared
from compressor.passes.pruning.scores import Score
from compressor.passes.recover import Settings, recover
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal

__all__ = [
    "BATCH",
    "CLAIMS",
    "LONG",
    "SAMPLES",
    "blocks_of",
    "context",
    "influence",
    "lessons",
    "recovered",
    "shallower",
    "subject",
]

BATCH, STEPS, SAMPLES = 16, 80, 256
LONG = 120  # steps where masks or widths are learned on the way
Deep = list[int]


@functools.cache
def subject() -> Subject:
    return SUBJECTS["gpt"](4096)


def context(seed: int, **more: object) -> Context:
    """Calibration for scores, and as many windows as the steps need to train on."""
    batches = subject().batches(SAMPLES, seed)
    given = {"training": lessons(seed, LONG), **more}
    return Context(load_target("host"), latency=Roofline(), calibration=batches, synthetic=False, seed=seed, **given)


def lessons(seed: int, steps: int = STEPS) -> list[Batch]:
    return subject().batches(BATCH * steps, 1000 + seed)


def recovered(
    student: Program, seed: int, steps: int = STEPS, losses: str = "auto", rate: float | None = None
) -> float:
    """The perplexity after so many steps from the dense network."""
    held = subject().batches(2 * BATCH, 99)
    done = recover(
        student, subject().program, lessons(seed, steps), f"{steps}steps", losses=losses, held=held, seed=seed,
        settings=Settings(rate=rate),
    )  # fmt: skip
    return subject().metric(done.program)


# ----------------------------------------------------------------------------------------------------- LLM-Pruner


def blocks_of(name: str) -> set[int]:
    """The blocks that a dimension's name speaks of."""
    parts = name.replace("#", ".").split(".")
    return {int(after) for before, after in itertools.pairwise(parts) if before == "blocks" and after.isdigit()}


def middle(one: Dimension) -> bool:
    """The inner width of an MLP, or the heads, of all blocks but the first and the last."""
    tensors = {tensor for tensor, *_ in one.spans}
    where = {block for tensor in tensors for block in blocks_of(tensor)}
    return len(where) == 1 and not where & {0, len(blocks()) - 1} and (_of_mlp(tensors) or one.rows > 8)


def blocks() -> range:
    return range(6)


def _of_mlp(tensors: set[str]) -> bool:
    return any(".mlp." in tensor for tensor in tensors)


def half_of_the_middle(score: Score, seed: int) -> Figures:
    """Half of the channels and heads of the middle blocks go, by this score; nothing is fitted."""
    given = context(seed)
    dimensions = analyse(prepared(subject().program))
    ranked = Chooser(score, "uniform", 1, 0.0, ()).ranked(dimensions, given.calibration, given)
    rungs = tuple(one.nearest(0.5) if middle(one.dimension) else 0 for one in ranked.ladders)
    smaller = cut(Allocation(dimensions, ranked.ladders, rungs).removal())
    return {"before": subject().metric(smaller), "after": recovered(smaller, seed)}


LLM_PRUNER = Claim(
    "llm-pruner", "GPT of 1.9M, half of the MLP channels and heads of blocks 1 to 4, 80 steps of recovery",
    {
        score: functools.partial(half_of_the_middle, score)
        for score in ("taylor-element1", "random", "magnitude")
    },
    [
        Goal("element-1 against random before recovery", "taylor-element1.before", "random.before", "ratio", 0.85),
        Goal("element-1 against random after recovery", "taylor-element1.after", "random.after", "ratio", 0.9999),
    ],
)  # fmt: skip


# -------------------------------------------------------------------------------------------------------- Minitron


def influence(seed: int = 0) -> list[float]:
    """1 − E[cos(x_in, x_out)] of every block (Minitron's block influence)."""
    model, found = load("gpt"), [0.0] * len(blocks())

    def look(number: int, given: tuple[torch.Tensor, ...], made: tuple[torch.Tensor, ...]) -> None:
        after, _ = made  # and the block's keys and values
        found[number] = 1 - float(torch.nn.functional.cosine_similarity(given[0], after, dim=-1).mean())

    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda _, given, made, number=number: look(number, given, made))
    [ids] = subject().batches(BATCH, seed)[0].values()
    with torch.no_grad():
        model(ids)
    return found


def shallower(kept: Deep, fresh: bool = False) -> Program:
    """The GPT with these blocks alone; `fresh` weights or the trained ones."""
    model = Gpt(depth=len(kept))
    if not fresh:
        trained = load("gpt")
        state = {name: value for name, value in trained.state_dict().items() if not name.startswith("blocks.")}
        for new, old in enumerate(kept):
            state |= {f"blocks.{new}.{name}": value for name, value in trained.blocks[old].state_dict().items()}
        model.load_state_dict(state)
    [ids] = subject().batches(BATCH, 0)[0].values()
    return capture(model.eval(), (ids[:2],)).program


def by_depth(seed: int) -> Figures:
    """Half of the blocks go, those with the least influence."""
    worth = influence(seed)
    kept = sorted(sorted(blocks(), key=lambda block: -worth[block])[: len(blocks()) // 2])
    smaller = shallower(kept)
    return {"before": subject().metric(smaller), "after": recovered(smaller, seed), "size": _size(smaller)}


@functools.cache
def narrower(seed: int) -> Program:
    """As many parameters as half of the blocks leave, by width."""
    wanted, low, high = shallower([0, 1, 2]).parameters(), 0.45, 0.6
    given = context(seed)
    found: list[Program] = []
    for _ in range(4):
        amount = (low + high) / 2
        pruned = Prune(amount=amount, score="activation", samples=SAMPLES, multiple=4)
        found.append(pruned.run(subject().program, given).program)
        low, high = (amount, high) if found[-1].parameters() > wanted else (low, amount)
    return min(found, key=lambda program: abs(program.parameters() - wanted))


def by_width(losses: str, seed: int) -> Figures:
    smaller = narrower(seed)
    return {
        "before": subject().metric(smaller), "after": recovered(smaller, seed, losses=losses), "size": _size(smaller)
    }  # fmt: skip


def from_scratch(seed: int) -> Figures:
    """The same shape, drawn anew, trained on the text alone."""
    program = narrower(seed).copy()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in program.tensors().items():
            if tensor.dim() > 1 and tensor.is_floating_point():
                tensor.normal_(std=0.02)
            elif name.endswith("bias"):
                tensor.zero_()
            elif "norm" in name:
                tensor.fill_(1.0)
    return {"after": recovered(program, seed, losses="task", rate=1e-3)}


def _size(program: Program) -> float:
    return program.parameters() / subject().program.parameters()


MINITRON = Claim(
    "minitron", "GPT of 1.9M to about half its parameters (3 of 6 blocks, or as many by width), 80 steps",
    {
        "width": functools.partial(by_width, "auto"), "depth": by_depth,
        "width-ce": functools.partial(by_width, "task"), "scratch": from_scratch,
    },
    [
        Goal("width against depth after recovery", "width.after", "depth.after", "ratio", 0.9999),
        Goal("logit distillation against cross entropy", "width.after", "width-ce.after", "ratio", 0.98),
        Goal("pruned and distilled against the same shape from scratch", "width.after", "scratch.after", "ratio", 0.9),
    ],
)  # fmt: skip


# -------------------------------------------------------------------------------------------------- DistilCamemBERT


def student(losses: str, fresh: bool, seed: int) -> Figures:
    """Every other block, or as many drawn anew."""
    torch.manual_seed(seed)
    return {"after": recovered(shallower([0, 2, 4], fresh), seed, losses=losses, rate=1e-3 if fresh else None)}


def _student(losses: str, fresh: bool = False) -> Callable[[int], Figures]:
    return functools.partial(student, losses, fresh)


DISTIL = Claim(
    "distilcamembert", "GPT of 1.9M, 6 blocks to 3, 80 steps",
    {
        "alternate": _student("distilbert"), "random": _student("distilbert", True), "soft": _student("soft_ce"),
        "cosine": _student("last_cosine"), "task": _student("task"),
    },
    [
        Goal("alternate layers against a random start", "alternate.after", "random.after", "ratio", 0.85),
        *(
            Goal(f"three terms against {name} alone, or a tie", "alternate.after", f"{name}.after", "ratio", 1.01)
            for name in ("soft", "cosine", "task")
        ),
    ],
)  # fmt: skip

CLAIMS = (LLM_PRUNER, MINITRON, DISTIL)
