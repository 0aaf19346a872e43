"""Compressor's second check: of students with as many bytes, the one with the most multiply–accumulates is taught best.

    bytes = 4 · (384·h + L·(4·h² + 2·h·f + 9·h + f) + 2·h)
    MACs a byte of text = 256·h + L·(4·h² + 2·h·f + 2·128·h)

Students of the byte-level GPT of 1.9M, from scratch: L layers, h wide, f inside of the MLP. The planner's evolutionary
solver looks for the most work within the bytes; what is compared with it has the least work of all with as many bytes.
(Shi et al., 2022, Compressor, arXiv:2208.07120.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from models.gpt import Gpt
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.recover import recover
from compressor.plan.evolution import Evolutionary
from compressor.plan.problem import Problem, Site, Term

from . import language
from .claim import Claim, Figures, Goal

__all__ = ["Student", "bytes_of", "extremes", "students_claim", "work_of"]

MEGABYTES, NEAR, STEPS = 1.0, 0.97, 600
LAYERS, WIDTHS, INNER = tuple(range(1, 7)), tuple(range(32, 193, 16)), tuple(range(32, 769, 32))
Student = tuple[int, int, int]  # layers, width, inner width


def students_claim() -> Claim:
    """Each seed draws other weights and data."""
    arms: dict[str, Callable[[int], Figures]] = {
        "most": functools.partial(_taught, 0), "least": functools.partial(_taught, 1),
    }  # fmt: skip
    goals = [Goal("perplexity of the student with the most work, against the least", "most.perplexity",
                  "least.perplexity", "ratio", 0.9999)]  # fmt: skip
    return Claim(
        "compressor-trained", f"GPTs of {MEGABYTES:g} MB, {STEPS} steps of distillation from 1.9M", arms, goals
    )


def bytes_of(student: Student) -> int:
    """Of floats."""
    layers, h, f = student
    return 4 * (384 * h + layers * (4 * h * h + 2 * h * f + 9 * h + f) + 2 * h)


def work_of(student: Student) -> int:
    """Multiply–accumulates a byte of text, at its whole context."""
    layers, h, f = student
    return 256 * h + layers * (4 * h * h + 2 * h * f + 2 * 128 * h)


def extremes(megabytes: float = MEGABYTES) -> tuple[Student, Student]:
    """What the search finds to have the most work within the bytes, and what has the least with as many bytes."""
    grid = [[[(a, b, c) for c in INNER] for b in WIDTHS] for a in LAYERS]
    size, work = (
        np.array([[[of(s) / 1e6 for s in row] for row in plane] for plane in grid]) for of in (bytes_of, work_of)
    )
    sites = tuple(Site(n, tuple(map(str, v))) for n, v in (("layers", LAYERS), ("width", WIDTHS), ("inner", INNER)))
    terms = (Term("size", (0, 1, 2), size), Term("latency", (0, 1, 2), -work))
    found = Evolutionary().solve(Problem(sites, terms, {"size": megabytes}, {"latency": 1.0}))[0].picks
    most = grid[found[0]][found[1]][found[2]]
    every = [student for plane in grid for row in plane for student in row]
    alike = [student for student in every if NEAR * bytes_of(most) <= bytes_of(student) <= bytes_of(most)]
    return most, min(alike, key=work_of)


def _fresh(student: Student, seed: int) -> Program:
    layers, h, f = student
    torch.manual_seed(seed)
    network = Gpt(h, layers, heads=max(1, h // 32 if h % 32 == 0 else h // 16))
    for block in network.blocks:
        block.mlp = nn.Sequential(nn.Linear(h, f), nn.GELU(), nn.Linear(f, h))  # type: ignore[assignment]
    [ids] = language.subject().batches(16, 0)[0].values()
    return capture(network.eval(), (ids[:2],)).program


def _taught(which: int, seed: int) -> Figures:
    """The student after distillation from the trained network."""
    student = extremes()[which]
    fresh = _fresh(student, seed)
    done = recover(fresh, language.subject().program, language.lessons(seed, STEPS), f"{STEPS}steps", seed=seed)
    figures = {"bytes": float(bytes_of(student)), "macs": float(work_of(student))}
    return {"perplexity": language.subject().metric(done.program), **figures}
