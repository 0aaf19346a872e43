"""From a request to a captured program with its data: everything that happens before the first pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.data import Dataset, check_indices, example_from_data, load_data
from compressor.decoding import midway, reading, step
from compressor.generation import interface_of
from compressor.graph.contract import Batch, Progress
from compressor.graph.decoder import eager_scores
from compressor.graph.kv_cache import cache_of, without_past
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec
from compressor.inputs import example_inputs, parse_input, synthetic_batches
from compressor.load import Loaded, load_model, to_program
from compressor.metrics import Metric, load_metric
from compressor.recovering import load_teacher, taught
from compressor.request import Request
from compressor.targets import Target
from compressor.unbound import unbound_example, unbound_inputs

__all__ = ["Prepared", "prepare"]

SYNTHETIC_BATCHES = 1


@dataclass(frozen=True)
class Prepared:
    """The captured program, and what it is judged by. Without data, `evaluation` is synthetic."""

    name: str
    target: Target
    program: Program
    dataset: Dataset | None
    evaluation: Sequence[Batch]
    metric: Metric
    seed: int
    notes: tuple[str, ...]
    teacher: Program | None = None  # another network that this one learns from
    module: nn.Module | None = None  # the model itself, where it came as one
    companions: Mapping[str, Path] = field(default_factory=dict)  # files that go into the bundle as they are
    ends: tuple[int, ...] = ()  # token ids that end a text
    halved: bool = False  # the data were split for training
    _batches: dict[Any, Batch] = field(default_factory=dict, repr=False, compare=False)

    @property
    def synthetic(self) -> bool:
        return self.dataset is None

    @property
    def judged(self) -> Dataset:
        """What the metric is evaluated on: the user's data, or the synthetic batches."""
        return self.dataset or Dataset(
            calibration=[], evaluation=list(self.evaluation), labels=None, source="synthetic"
        )

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """What results are compared with: the original's outputs, or the teacher's where another one teaches."""
        return self.program.run(batch) if self.teacher is None else taught(self.teacher, self.program, batch)

    def timed_batch(self, size: int) -> Batch:
        """One batch of `size` samples to time with, cut or repeated from the first one; of a decoder with a cache, the
        token behind a text."""
        return self._made(size, step)

    def first_batch(self, size: int) -> Batch | None:
        """The text that a decoder reads before its first token; None where the program has no cache."""
        return self._made(size, reading) if self.is_decoder else None

    def shown_batch(self, size: int) -> Batch:
        """One batch that shows what the program computes: of a decoder, the second half of short texts."""
        return self._made(size, midway)

    def _made(self, size: int, make: Callable[[Program, Batch], Batch]) -> Batch:
        """So many samples, of a decoder what is made of them: by running it, so that it is kept."""
        batch = _sized_batch(self.program, self.evaluation[0], size)
        if not self.is_decoder:
            return batch
        if (size, make) not in self._batches:
            self._batches[size, make] = make(self.program, batch)
        return self._batches[size, make]

    def original(self, text: Batch) -> Mapping[str, Tensor]:
        """What the model itself, or where it came as a graph the program, makes of a decoder's text."""
        if self.module is None:
            return self.program.run(text)
        names = interface_of(self.program)
        given = without_past(self.program.inputs, text)
        return {names.scores: eager_scores(self.module, given, names.tokens)}

    @property
    def is_decoder(self) -> bool:
        """Whether the program goes on from a key–value cache."""
        return bool(cache_of(self.program.inputs))

    def calibration_digest(self) -> str:
        """SHA-256 over the calibration data: what a cached stage depends on."""
        return _digest(self.calibration)

    def training_digest(self) -> str:
        """The same over the training data and the teacher: what a stage that trains depends on."""
        return _digest(self.training) + ("" if self.teacher is None else self.teacher.hash())

    @property
    def calibration(self) -> Sequence[Batch]:
        return self.dataset.calibration if self.dataset else ()

    @property
    def training(self) -> Sequence[Batch]:
        return self.dataset.training if self.dataset else ()


def prepare(request: Request, target: Target, seed: int, progress: Progress, *, train: bool = False) -> Prepared:
    """Load the model, its teacher and its data, and capture them. `train`: some pass needs training data.

    Raises what loading, capture and data raise.
    """
    loaded = _loaded(request)
    progress.say(f"{loaded.name}: {loaded.kind}")
    args, kwargs, synthetic = _example(request, loaded, seed)
    captured = to_program(loaded, args, kwargs, synthetic=synthetic, kv_cache=not request.no_kv_cache)
    program = captured.program
    dataset = load_data(request.data, program.inputs, train=train) if request.data is not None else None
    if dataset is not None:
        check_indices(program, dataset)
        program = replace(program, example=_real_example(program, dataset), synthetic=False)
    evaluation = (
        dataset.evaluation if dataset else synthetic_batches(program, count=SYNTHETIC_BATCHES, batch_size=2, seed=seed)
    )
    notes = (*loaded.notes, *captured.notes, *(dataset.notes if dataset else ()))
    metric = load_metric(request.metric, dataset, program)
    teacher = None if request.teacher is None else load_teacher(request.teacher, program, trust=request.trust)
    notes += () if teacher is None else ("outputs are judged by the teacher's, not by those of the model as it was",)
    return Prepared(
        loaded.name, target, program, dataset, evaluation, metric, seed, notes, teacher,
        module=loaded.module, companions=loaded.companions, ends=loaded.ends,
        halved=train and dataset is not None,
    )  # fmt: skip


def _digest(batches: Sequence[Batch]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _loaded(request: Request) -> Loaded:
    if isinstance(request.model, nn.Module):
        return Loaded(name=request.model_name, kind="nn.Module", module=request.model)
    return load_model(Path(request.model), factory=request.factory, trust=request.trust)


def _example(request: Request, loaded: Loaded, seed: int) -> tuple[Sequence[Any], dict[str, Any], bool]:
    """The inputs to capture with: the user's shapes, else real data, else what the source knows."""
    if request.inputs:
        specs = [parse_input(text) for text in request.inputs]
        if loaded.module is None:
            return *unbound_inputs(specs, seed=seed), True
        return *example_inputs(loaded.module, specs, seed=seed), True
    if request.data is not None and loaded.program is None:
        if loaded.module is None:
            return *unbound_example(request.data), False
        return *example_from_data(request.data, loaded.module), False
    if loaded.example is not None:
        return *loaded.example, True
    if loaded.module is None:
        return (), {}, loaded.program is None or loaded.program.synthetic
    return *example_inputs(loaded.module, [], seed=seed), True


def _real_example(program: Program, dataset: Dataset) -> tuple[Tensor, ...]:
    """Two real samples in place of whatever the program was captured with."""
    batch = _sized_batch(program, (dataset.calibration or dataset.evaluation)[0], 2)
    return program.flatten(midway(program, batch) if cache_of(program.inputs) else batch)


def _sized_batch(program: Program, batch: Batch, size: int) -> Batch:
    return {spec.name: _sized(spec, batch[spec.name], size) for spec in program.inputs}


def _sized(spec: TensorSpec, tensor: Tensor, size: int) -> Tensor:
    """The tensor with `size` samples, cut or repeated, where its first dimension is dynamic."""
    if not spec.shape or isinstance(spec.shape[0], int):
        return tensor
    return torch.cat([tensor] * -(-size // tensor.shape[0]))[:size].clone()
