"""One linearization: the programs it works on, what was found in them, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from compressor.graph.contract import Batch, Context, PassResult, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.linearizing.importance import without
from compressor.passes.linearizing.prepare import apart, functional, trainable
from compressor.passes.linearizing.settings import TRAINING, pairs_of, setting_of, training_setting
from compressor.passes.linearizing.stretches import Found, Stretch, find_stretches, named
from compressor.passes.linearizing.training import Lesson, fade
from compressor.passes.reading.samples import limited
from compressor.passes.recover.trainee import untrainable

__all__ = ["Job"]

FITTED = "not trained: {}; the layers behind the activations are fitted instead"
NOTHING = "there is no data: nothing was trained, and nothing was fitted: the outputs may be far off"


@dataclass(frozen=True)
class Job:
    """`keep` are globs of layers to leave alone, `samples` how many of the calibration samples are looked at."""

    program: Program
    context: Context
    keep: tuple[str, ...] = ()
    samples: int = 128

    @cached_property
    def plain(self) -> Program:
        return functional(self.program)

    @cached_property
    def folded(self) -> Program:
        return apart(self.plain, self.context, self.keep)

    @cached_property
    def found(self) -> Found:
        return find_stretches(self.folded, self.context, self.keep)

    @cached_property
    def batch(self) -> Batch | None:
        """Calibration samples as one batch, where there are some."""
        batches = limited(self.plain, self.context.calibration, self.samples)
        if not batches:
            return None
        names = [spec.name for spec in self.plain.inputs]
        shapes = {tuple(batch[name].shape[1:] for name in names) for batch in batches}
        sized = all(spec.shape and not isinstance(spec.shape[0], int) for spec in self.plain.inputs)
        if len(shapes) > 1 or not sized:
            return batches[0]
        return {name: torch.cat([batch[name] for batch in batches]) for name in names}

    @property
    def example(self) -> Batch:
        """What is measured on: the batch, or the program's example without data."""
        if self.batch is not None:
            return self.batch
        return {spec.name: value for spec, value in zip(self.plain.inputs, self.plain.example, strict=True)}

    def merged(self, program: Program) -> Program:
        """The program after `fold`."""
        return Fold(keep=self.keep).run(program, self.context).program

    def named(self, sites: Mapping[str, Setting]) -> tuple[list[Stretch], list[Skip]]:
        """The stretches that a recipe names, and those that are none. Raises RecipeError for a setting that is none."""
        found = {name: named(self.folded, name, through, self.keep) for name, through in pairs_of(sites).items()}
        absent = [Skip(name, "the model has no such stretch of layers") for name, one in found.items() if one is None]
        return [one for one in found.values() if one is not None], absent

    def result(self, chosen: Sequence[Stretch], skipped: Sequence[Skip], lesson: Lesson | None) -> PassResult:
        """The program without the stretches' activations, trained or fitted."""
        chosen = sorted(chosen, key=lambda stretch: stretch.links[0].first.node)
        names = tuple(name for stretch in chosen for name in stretch.activations)
        settings: dict[str, Setting] = {stretch.name: setting_of(stretch) for stretch in chosen}
        notes = [self._merges(chosen)]
        hindrance = untrainable(self.plain) if self.context.training else "there is no training data"
        if lesson is not None and hindrance is None:
            nodes = [node for stretch in chosen for node in stretch.nodes]
            base = trainable(self.plain, self.folded, nodes, self.context, self.keep)
            trained = fade(base, nodes, self.context, lesson, self.keep)
            done = trained.done
            settings[TRAINING] = training_setting(lesson, done.losses, done.marks)
            notes.append(
                f"trained: held-out loss {done.before:.4g} without the activations, {done.after:.4g} after "
                f"{done.steps} steps, agreement with the original {done.metric[1]:.4f}"
            )
            return PassResult(trained.program, names, tuple(skipped), settings, tuple(notes))
        if lesson is not None and self.batch is not None:
            notes.append(FITTED.format(hindrance))
        program = self.folded
        for stretch in chosen:
            program = without(program, self.folded, stretch, self.batch)
        if self.batch is None:
            notes.append(NOTHING)
        return PassResult(program, names, tuple(skipped), settings, tuple(notes))

    def _merges(self, chosen: Sequence[Stretch]) -> str:
        layers = sum(len(stretch.layers) for stretch in chosen)
        return f"{layers} layers become {len(chosen)} with fold, which has to come after it"
