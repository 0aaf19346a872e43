"""Batches are mixed, cover an epoch once, and are the same from any step on."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.passes.recover.stream import Stream, batch_inputs, held_out, rows

X = frozenset({"x"})


def _batches(count: int, size: int = 4) -> list[Batch]:
    return [{"x": torch.arange(i * size, (i + 1) * size), "labels": torch.arange(i * size, (i + 1) * size)}
            for i in range(count)]  # fmt: skip


def _epoch(stream: Stream, epoch: int = 0) -> list[Tensor]:
    found = itertools.islice(stream.at(epoch * stream.per_epoch), stream.per_epoch)
    return [batch["x"] for batch in found]


def test_an_epoch_has_every_sample_once_in_a_new_order() -> None:
    stream = Stream(_batches(40), range(40), X, 8, 0)
    first, second = (torch.cat(_epoch(stream, epoch)) for epoch in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(160))
    assert first.tolist() != second.tolist()
    mixed = [len({int(x) // 4 for x in batch}) for batch in _epoch(stream)]
    assert sum(mixed) / len(mixed) > 3, "samples of different batches meet"


def test_labels_stay_with_their_samples() -> None:
    for batch in Stream(_batches(10), range(10), X, 6, 1).first(5):
        assert torch.equal(batch["x"], batch["labels"])


def test_any_step_can_be_begun_at() -> None:
    stream = Stream(_batches(40), range(40), X, 8, 3)
    whole = [batch["x"].tolist() for batch in itertools.islice(stream.at(0), 45)]
    for step in (7, 20, 33):
        part = [batch["x"].tolist() for batch in itertools.islice(stream.at(step), 45 - step)]
        assert part == whole[step:]


def test_the_seed_decides_the_order() -> None:
    orders = [torch.cat(_epoch(Stream(_batches(8), range(8), X, 4, seed))).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_only_the_chosen_are_used() -> None:
    assert sorted(torch.cat(_epoch(Stream(_batches(5), [0, 3], X, None, 0))).tolist()) == [0, 1, 2, 3, 12, 13, 14, 15]


def test_batches_of_unlike_shapes_are_not_mixed() -> None:
    batches: list[Batch] = [{"x": torch.zeros(4, 2 + index % 2)} for index in range(8)]
    shapes = [tuple(x.shape) for x in _epoch(Stream(batches, range(8), X, 4, 0))]
    assert sorted(shapes) == [(4, 2)] * 4 + [(4, 3)] * 4


def test_inputs_without_a_batch_axis_are_taken_as_they_are() -> None:
    batches: list[Batch] = [{"x": torch.full((3, 2), index)} for index in range(4)]
    stream = Stream(batches, range(4), frozenset(), None, 0)
    assert sorted(int(x[0, 0]) for x in _epoch(stream)) == [0, 1, 2, 3]
    assert {tuple(x.shape) for x in _epoch(stream)} == {(3, 2)}


def test_some_batches_are_held_out_where_there_are_enough() -> None:
    trained, judged = held_out(_batches(20), X)
    assert sorted(trained + judged) == list(range(20))
    assert len(judged) == 4
    assert held_out(_batches(3), X) == ([0, 1, 2], [0, 1, 2])
    assert len(held_out(_batches(400, 64), X)[1]) == 8, "512 samples are enough"


def test_which_inputs_count_samples() -> None:
    program = capture(nn.Linear(3, 2), (torch.randn(2, 3),)).program
    assert batch_inputs(program) == {"input"}
    assert rows({"input": torch.zeros(5, 3)}, batch_inputs(program)) == 5
    fixed = capture(nn.Linear(3, 2), (torch.randn(2, 3),), static=True).program
    assert batch_inputs(fixed) == {"input"}
