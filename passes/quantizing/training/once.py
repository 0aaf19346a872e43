"""One training for several budgets of bits: a network that is all of them learns, and any one is taken out of it.

    L_f, R_f, θ_f ← AdamW(∇ L(supernet(x; formats of this step), original(x)))

The formats of a step are the schedule's (`schedule.py`); what is judged is the mean over some networks of every budget.
A finished training is kept where the caller has a shelf for it: another number of bits takes it from there. (Yi et al.,
2024, One QuantLLM for ALL, arXiv:2405.20202.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.quantizing.settings import format_of, is_block
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.swap import rounded_weight
from compressor.passes.quantizing.training.choices import parse_budgets, parse_choices
from compressor.passes.quantizing.training.lesson import SITE, Lesson
from compressor.passes.quantizing.training.steps import codes_by
from compressor.passes.quantizing.training.supernet import Supernet, make_supernet
from compressor.passes.quantizing.training.teach import Taught
from compressor.passes.reading.matrix import from_matrix
from compressor.passes.recover import Ranks, Settings, parse_budget, recover
from compressor.passes.recover.checkpoint import identity, read_checkpoint, write_checkpoint
from compressor.passes.recover.lesson import cannot_learn, told
from compressor.passes.recover.rates import plain_rate
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Once", "taught_once"]

RATE = 3.0  # of `recover`'s: adapters begin at nothing
_FILE = "trained.pt"


@dataclass(frozen=True)
class Once:
    """A trained network for several budgets, out of which the networks are taken. `setting` trains the same again."""

    base: Program
    supernet: Supernet
    trained: Program
    setting: Setting
    notes: tuple[str, ...] = ()

    def weight(self, layer: Layer, setting: Setting) -> Tensor:
        """A layer's weight in its own layout, as its trained codes in the setting's format say it."""
        codes = self._place(self._scratch, layer, setting)
        placed: Tensor = self._scratch.get(layer.weight).detach()
        return rounded_weight(self._scratch, layer, setting) if codes is None else placed

    @cached_property
    def _scratch(self) -> Program:
        """Where weights are placed to look at them."""
        return begin(self.base)

    def richest(self) -> Program:
        """The network with every layer's weights as they are rounded where it has the most bits, in floats."""
        return self.taken(
            {name: self.supernet.parts[first][-1].setting for name, first in self.supernet.first.items()}
        ).program

    def taken(self, settings: Mapping[str, Setting]) -> Taught:
        """The network of these settings: trained weights, and the codes of those in blocks."""
        copy, codes, ties = begin(self.base), {}, dict[str, tuple[Tensor, Rounded | None]]()
        for layer in find_layers(copy)[0]:
            setting = settings.get(layer.name)
            if setting is None or self.supernet.part(layer.name, format_of(setting)) is None:
                continue
            first = self.supernet.first[layer.name]
            if first not in ties:
                found = self._place(copy, layer, setting)
                ties[first] = copy.get(layer.weight), found
            tensor, rounded = ties[first]
            set_tensor(copy, layer.weight, tensor)
            if rounded is not None:
                codes[layer.name] = rounded
        return Taught(finish(copy), codes, notes=self.notes, setting=self.setting)

    def _place(self, program: Program, layer: Layer, setting: Setting) -> Rounded | None:
        """Write a layer's trained weight into a program: rounded where it is in blocks, whose codes come back."""
        part = self.supernet.part(layer.name, format_of(setting))
        if part is None:
            return None
        weight = part.weight(self.trained, layer)
        set_tensor(program, layer.weight, weight)
        if not is_block(setting):
            return None
        rounded = codes_by(program, layer, part.setting, part.step.value(self.trained))
        set_tensor(program, layer.weight, from_matrix(rounded.values, weight, layer.kind))
        return rounded


def taught_once(program: Program, lesson: Lesson, context: Context, *, shared: bool = False) -> Once | Skip:
    """Train a functional program for the lesson's budgets, or take the finished training from the shelf; why not.

    `shared`: with one adapter for all formats of a layer, to compare with.
    """
    reason = cannot_learn(context) or ("" if lesson.choices else "not trained: no layer has formats to choose from")
    if reason:
        return Skip(SITE, reason, whole=True)
    choices, budgets = parse_choices(lesson.choices), parse_budgets(lesson.budgets)
    supernet = make_supernet(program, choices, budgets, context.seed, shared=shared)
    assert context.teacher is not None
    key = identity(supernet.program.hash(), context.teacher.hash(), lesson, supernet.schedule, context.seed)
    saved = _kept(context, key)
    if saved is None:
        done = recover(
            supernet.program, context.teacher, context.training, parse_budget(lesson.train), losses=lesson.losses,
            settings=Settings(
                rate=lesson.rate or RATE * plain_rate(program), keep=tuple(program.tensors()),
                variants=supernet.schedule,
            ),
            seed=context.seed, progress=context.progress, checkpoint=context.checkpoint, marks=lesson.marks,
            ranks=Ranks(), caller="quantize",
        )  # fmt: skip
        tensors = {name: done.program.get(name).detach() for name in supernet.learned()}
        what = f"the networks of {lesson.budgets} bits a weight, on average"
        text = (*done.notes, told(done, what)) if done.improved else ()
        saved = {"tensors": tensors, "losses": done.losses, "marks": done.marks, "notes": list(text)}
        _keep(context, key, saved)
    if not saved["notes"]:
        return Skip(
            SITE, "training for several budgets did not lower the held-out loss: rounded without training", whole=True
        )
    trained = begin(supernet.program)
    for name, tensor in saved["tensors"].items():
        set_tensor(trained, name, tensor)
    setting = lesson.setting(saved["losses"], saved["marks"])
    return Once(program, supernet, finish(trained), setting, tuple(saved["notes"]))


def _kept(context: Context, key: str) -> dict[str, Any] | None:
    folder = None if context.shelf is None else context.shelf.find(key)
    found = None if folder is None else read_checkpoint(folder / _FILE, key)
    if found is not None:
        context.progress.say("quantize: takes the finished training for several budgets from the cache")
    return found


def _keep(context: Context, key: str, saved: dict[str, Any]) -> None:
    def fill(folder: Path) -> None:
        write_checkpoint(folder / _FILE, key, saved)

    if context.shelf is not None:
        context.shelf.store(key, fill)
