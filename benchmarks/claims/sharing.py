"""Checks of shared weights. On the trained GPT of 1.9M with 6 blocks figures are perplexities; what is trained from
scratch is a GPT of 0.3M, for as many steps in every arm; on Fashion-MNIST figures are accuracies."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from models import load
from models.gpt import Gpt
from models.vit import Vit
from torch import Tensor

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context, Value
from compressor.graph.cost import Roofline
from compressor.graph.edit import set_tensor
from compressor.graph.program import Program
from compressor.passes.recover import Settings, recover
from compressor.passes.share import Share
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal
from .language import BATCH, context, influence, lessons, recovered, shallower, subject
from .vision import Small, accuracy, program_of
from .vision import lessons as images

__all__ = ["CLAIMS"]

SCRATCH, CURE, PICTURES = 150, 120, 300  # steps: GPT from scratch, GPT after sharing, networks of images
LONG = 300  # steps after blocks went and the others were shared
WIDTH, SAFE = 64, 96  # of the GPT from scratch; with one MLP for all blocks 6 · 12 · 64² = 6 · 4 · 96² + 8 · 96²
RATE = 3e-3


def shared(program: Program, seed: int, **options: Value) -> Program:
    """By the pass with these options."""
    return Share(**options).run(program, context(seed)).program  # type: ignore[arg-type]


def untrained(**options: Value) -> Figures:
    """The trained GPT, not trained again: its perplexity, stored bytes and predicted time relative to the original."""
    dense, program = subject().program, shared(subject().program, 0, **options)
    host, model = load_target("host"), Roofline()
    time = model.predict(program, host).latency_ms / model.predict(dense, host).latency_ms
    return {
        "before": subject().metric(program), "size": program.unique_bytes() / dense.unique_bytes(), "time": time
    }  # fmt: skip


def unseen(seed: int, calibration: Sequence[Batch] = ()) -> Context:
    """For networks of images, which the GPT's batches do not fit; what is drawn anew is shared without data."""
    return Context(load_target("host"), latency=Roofline(), calibration=calibration, synthetic=False, seed=seed)


def fresh_gpt(width: int, seed: int) -> Program:
    [ids] = subject().batches(BATCH, 0)[0].values()  # before the seed: loading draws weights, too
    torch.manual_seed(seed)
    return capture(Gpt(width).eval(), (ids[:2],)).program


def from_scratch(seed: int, width: int = WIDTH, **options: Value) -> Figures:
    """Drawn anew, shared where options say so, trained on the text alone."""
    program = fresh_gpt(width, seed)
    if options:
        program = Share(weights="central", **options).run(program, unseen(seed)).program  # type: ignore[arg-type]
    trained = _trained(program, lessons(seed, SCRATCH), SCRATCH, seed)
    return {"after": subject().metric(trained), "parameters": program.parameters()}


def _trained(
    program: Program, batches: Sequence[Batch], steps: int, seed: int, teacher: Program | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> Program:  # fmt: skip
    """On its task alone: the teacher (itself, where none is given) only tells what kind of outputs there are."""
    given = Settings(rate=RATE, masks=masks or {})
    teacher = teacher or program
    return recover(program, teacher, batches, f"{steps}steps", losses="task", settings=given, seed=seed).program


@functools.cache
def _classifier() -> Program:
    return program_of(load("mobilenetv2"))


# ----------------------------------------------------------------------------------------------------------- CRaSh

CRASH = Claim(
    "crash", "GPT of 1.9M, 3 of 6 blocks' weights, no training; the uniform drop keeps blocks 0, 2 and 4",
    {
        "repeated": lambda seed: untrained(groups="cka", weights="central", norms="shared"),
        "own-norms": lambda seed: untrained(groups="cka", weights="central"),
        "fitted": lambda seed: untrained(groups="cka"),
        "dropped": lambda seed: untrained(groups="cka", repeat=False),
        "uniform": lambda seed: untrained(repeat=False),
    },
    [
        Goal("CKA clusters, repeated, against uniform drop", "repeated.before", "uniform.before", "ratio", 0.9),
        Goal("repeating stores no more than dropping (5%)", "repeated.size", "dropped.size", "ratio", 1.05),
        Goal("repeating takes the original's time (no less than 99%)", "repeated.time", "0.99", "points", 0.0),
    ],
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- Subformer

SUBFORMER = Claim(
    "subformer",
    f"GPT of 0.3M from scratch, {SCRATCH} steps: the ends of their own, against one set for all 6 blocks",
    {
        "sandwich": functools.partial(from_scratch, groups="sandwich"),
        "all": functools.partial(from_scratch, blocks="all"),
    },
    [Goal("sandwich against all shared, at two blocks' bytes more", "sandwich.after", "all.after", "ratio", 0.98)],
)


# --------------------------------------------------------------------------------------------------------- WideNet

WIDENET = Claim(
    "widenet",
    f"GPT of 0.3M from scratch, {SCRATCH} steps, one set for all blocks; biases go with the norms",
    {
        "own": functools.partial(from_scratch, blocks="all", norms="own"),
        "shared": functools.partial(from_scratch, blocks="all", norms="shared"),
    },
    [Goal("norms of each block's own against shared ones", "own.after", "shared.after", "ratio", 0.99)],
)


# ------------------------------------------------------------------------------------------------------- MobiLlama


def averaged(seed: int) -> Figures:
    """The trained GPT's MLPs become their mean, then it learns from the original."""
    program = shared(subject().program, seed, blocks="all", part="mlp", weights="mean")
    best = shared(subject().program, seed, blocks="all", part="mlp")
    return {
        "before": subject().metric(program), "after": recovered(program, seed, CURE),
        "fitted": subject().metric(best), "dense": subject().metric(subject().program),
    }  # fmt: skip


MOBILLAMA = Claim(
    "mobillama", f"GPT of 0.3M from scratch, {SCRATCH} steps; the trained one of 1.9M, MLPs averaged, {CURE} steps",
    {
        "one-mlp": functools.partial(from_scratch, width=SAFE, blocks="all", part="mlp"),
        "own-mlps": from_scratch,
        "averaged": averaged,
    },
    [
        Goal("one MLP and width 96 against an MLP a block and 64", "one-mlp.after", "own-mlps.after", "ratio", 1.0),
        Goal("averaging trained MLPs is catastrophic", "averaged.dense", "averaged.before", "ratio", 1 / 3),
        Goal("after the cure, against dense", "averaged.after", "averaged.dense", "ratio", 1.25),
    ],
)  # fmt: skip


# --------------------------------------------------------------------------------------------- transposed matrices


def vit(tie: str, seed: int) -> Figures:
    """A ViT of width 64 and 4 blocks, drawn anew."""
    torch.manual_seed(seed)
    program = program_of(Vit(width=64, depth=4))
    if tie != "none":
        program = Share("1", tie="ffn", weights="central").run(program, unseen(seed)).program
    trained = _trained(program, images(program, 64 * PICTURES, seed, True), PICTURES, seed, _classifier())
    host, model = load_target("host"), Roofline()
    return {"after": accuracy(trained), "macs": float(model.predict(program, host).macs)}


def tied_afterwards(seed: int) -> Figures:
    """The trained ViT, tied and not trained again."""
    from subjects import SUBJECTS

    found = SUBJECTS["vit"](4000)
    done = Share("1", tie="ffn").run(found.program, unseen(seed, found.batches(32, seed))).program
    return {"before": found.metric(done), "dense": found.metric(found.program)}


TRANSPOSED = Claim(
    "weight-space", f"ViT of 0.2M on Fashion-MNIST from scratch, {PICTURES} steps, and the trained one of 1.2M tied",
    {
        "tied": functools.partial(vit, "ffn"), "free": functools.partial(vit, "none"), "afterwards": tied_afterwards
    },
    [
        Goal("MLPs of one matrix against two", "tied.after", "free.after", "points", -0.01),
        Goal("the same multiply-accumulates", "tied.macs", "free.macs", "ratio", 1.0),
        Goal("tying trained weights costs 5 points and more", "afterwards.dense", "afterwards.before", "points", 0.05),
    ],
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------ STABLE-RPS


def slots(ratio: str, seed: int) -> Figures:
    """All large layers' weights in so many times fewer slots, from scratch; 0 is the dense network."""
    torch.manual_seed(seed)
    program = program_of(Small())
    if ratio != "0":
        program = Share(ratio, "random").run(program, unseen(seed)).program
    trained = _trained(program, images(program, 64 * PICTURES, seed, True), PICTURES, seed, _classifier())
    return {"after": accuracy(trained), "size": program.unique_bytes()}


def magnitude(ratio: float, seed: int) -> Figures:
    """As many weights of the same layers stay, those that are largest when they are drawn."""
    torch.manual_seed(seed)
    program = program_of(Small())
    names = [name for name, tensor in program.tensors().items() if tensor.dim() > 1 and tensor.numel() >= 1024]
    every = torch.cat([program.get(name).detach().abs().flatten() for name in names])
    least = every.topk(int(len(every) / ratio)).values[-1]
    masks: Mapping[str, Tensor] = {name: program.get(name).detach().abs() >= least for name in names}
    sparse = program.copy()
    for name, mask in masks.items():
        set_tensor(sparse, name, program.get(name).detach() * mask)
    lessons_of = images(program, 64 * PICTURES, seed, True)
    return {"after": accuracy(_trained(sparse, lessons_of, PICTURES, seed, _classifier(), masks))}


STABLE_RPS = Claim(
    "stable-rps", f"a CNN of 61,000 weights on Fashion-MNIST from scratch, {PICTURES} steps",
    {
        "dense": functools.partial(slots, "0"),
        **{f"slots-{n}": functools.partial(slots, str(n)) for n in (1, 10, 50)},
        **{f"magnitude-{n}": functools.partial(magnitude, n) for n in (10, 50)},
    },
    [
        Goal("50 times fewer: slots against magnitude", "slots-50.after", "magnitude-50.after", "points", 0.01),
        Goal("10 times fewer: a tie at least", "slots-10.after", "magnitude-10.after", "points", 0.0),
        Goal("a slot for every weight against dense", "slots-1.after", "dense.after", "points", -0.005),
    ],
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------- FoldGPT


def folded(losses: str, seed: int) -> Figures:
    """Two of six blocks go by their influence, the others share in pairs: 67% fewer block weights."""
    worth = influence(seed)
    kept = sorted(sorted(range(6), key=lambda block: -worth[block])[:4])
    program = shared(shallower(kept), seed)
    return {
        "before": subject().metric(program), "after": recovered(program, seed, LONG, losses),
        "dense": subject().metric(subject().program),
    }  # fmt: skip


FOLDGPT = Claim(
    "foldgpt-share",
    f"GPT of 1.9M, 4 of 6 blocks (by influence) in 2 pairs, {LONG} steps; the paper's cure is longer",
    {"tail": functools.partial(folded, "foldgpt"), "task": functools.partial(folded, "task")},
    [
        Goal("with tail distillation against dense", "tail.after", "tail.dense", "ratio", 1.15),
        Goal("with tail distillation against without", "tail.after", "task.after", "ratio", 0.98),
    ],
)

CLAIMS = (CRASH, SUBFORMER, WIDENET, MOBILLAMA, TRANSPOSED, STABLE_RPS, FOLDGPT)
