"""The arithmetic of each metric on outputs whose value is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from decoders import texts, tiny_decoder
from torch import Tensor, nn

from compressor.data import Dataset, load_data
from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec
from compressor.scores import Accuracy, Custom, Perplexity


@dataclass(frozen=True)
class Outputs:
    """As much of a program as a metric looks at."""

    outputs: tuple[TensorSpec, ...]


def program(*shapes: tuple[int | str, ...], dtype: torch.dtype = torch.float32) -> Any:
    return Outputs(tuple(TensorSpec(f"o{i}", dtype, shape) for i, shape in enumerate(shapes)))


def fixed(*batches: Mapping[str, Tensor]) -> Any:
    """A model that gives these outputs, one a batch whose number is its input."""
    return lambda batch: batches[int(batch["n"])]


def numbered(count: int, labels: list[Tensor] | None = None) -> Dataset:
    return Dataset([], [{"n": torch.tensor(i)} for i in range(count)], labels)


def one_hot(classes: Tensor, count: int, axis: int) -> Tensor:
    return nn.functional.one_hot(classes, count).float().movedim(-1, axis)


@pytest.mark.parametrize(
    ("output", "labels", "axis"),
    [
        (("batch", 5), (8,), 1),
        (("batch", "sequence", 5), (8, 3), 2),
        (("batch", 5, 6, 7), (8, 6, 7), 1),
        (("batch", 6, 7, 5), (8, 6, 7), 3),
        (("batch", 5, 3), (8, 3), 1),
    ],
)
def test_accuracy_finds_the_classes(output: tuple[int | str, ...], labels: tuple[int, ...], axis: int) -> None:
    truth = torch.randint(5, labels, generator=torch.Generator().manual_seed(0))
    dataset = numbered(1, [truth])
    accuracy = Accuracy.of(dataset, program(("batch", 9, 9, 9, 9), output))
    assert (accuracy.output, accuracy.axis) == ("o1", axis)
    guess = truth.clone()
    guess[0] = (guess[0] + 1) % 5
    assert accuracy(fixed({"o1": one_hot(guess, 5, axis)}), dataset, None) == pytest.approx(7 / 8)


def test_accuracy_ignores_padding_and_reports_nan() -> None:
    labels = torch.tensor([1, -100, 0])
    dataset = numbered(1, [labels])
    accuracy = Accuracy.of(dataset, program(("batch", 2)))
    scores = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert accuracy(fixed({"o0": scores}), dataset, None) == 0.5
    assert math.isnan(accuracy(fixed({"o0": scores * math.nan}), dataset, None))
    with pytest.raises(InputError, match="do not fit output"):
        accuracy(fixed({"o0": scores[:2]}), dataset, None)


class Decoder(nn.Module):
    """Token scores from a table, a kind and a mask: three integer inputs of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds, self.words, self.head = nn.Embedding(2, 8), nn.Embedding(20, 8), nn.Linear(8, 20)

    def forward(self, kinds: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        return self.head((self.words(tokens) + self.kinds(kinds)) * mask[..., None])


@pytest.fixture(scope="module")
def decoder() -> Program:
    ones = torch.ones(2, 6, dtype=torch.int64)
    return capture(Decoder(), (ones, ones, ones)).program


def test_perplexity_reads_the_token_ids(decoder: Program) -> None:
    perplexity = Perplexity.of(None, decoder)
    assert perplexity.tokens == "tokens"
    tokens = torch.randint(20, (3, 6), generator=torch.Generator().manual_seed(1))
    ones = torch.ones_like(tokens)
    batch = {"kinds": ones, "mask": ones, "tokens": tokens}
    scores = decoder.run(batch)["output"].log_softmax(-1)
    likelihood = scores[:, :-1].gather(2, tokens[:, 1:, None]).mean()
    dataset = Dataset([], [batch])
    assert perplexity(decoder.run, dataset, None) == pytest.approx(math.exp(-likelihood), rel=1e-5)


def test_perplexity_of_an_even_guess_is_the_vocabulary(decoder: Program) -> None:
    labels = torch.randint(20, (2, 6))
    labels[0, 3:] = -100
    dataset = numbered(1, [labels])
    perplexity = Perplexity.of(dataset, decoder)
    assert perplexity(fixed({"output": torch.zeros(2, 6, 20)}), dataset, None) == pytest.approx(20)
    with pytest.raises(InputError, match="do not fit token scores"):
        perplexity(fixed({"output": torch.zeros(2, 5, 20)}), dataset, None)
    sure_and_wrong = one_hot((labels + 1) % 20, 20, 2) * 1e6
    assert perplexity(fixed({"output": sure_and_wrong}), dataset, None) == math.inf


def test_custom_sees_everything_at_once() -> None:
    seen: list[Any] = []

    def function(outputs: Any, labels: Any) -> float:
        seen.append((outputs, labels))
        return 2.5

    batches = [{"a": torch.ones(2, 3), "b": torch.ones(2, i + 1)} for i in range(2)]
    dataset = numbered(2, [torch.zeros(2), torch.ones(2)])
    assert Custom(function, "f")(fixed(*batches), dataset, None) == 2.5
    outputs, labels = seen[0]
    assert outputs["a"].shape == (4, 3)
    assert [tuple(part.shape) for part in outputs["b"]] == [(2, 1), (2, 2)]
    assert labels.tolist() == [0, 0, 1, 1]


def test_perplexity_of_a_decoder_with_a_cache() -> None:
    program = tiny_decoder()
    dataset = load_data(texts("ids"), program.inputs)
    found = Perplexity.of(dataset, program)
    assert (found.output, found.tokens) == ("logits", "ids")
    assert 10 < found(program.run, dataset, None) < 1000
