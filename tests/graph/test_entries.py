"""Rows of a program's tensors, and the smaller programs that are made of them."""

from __future__ import annotations

import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.entries import Entry, of_rows, renewed


def test_the_first_rows_are_a_view_and_others_are_not() -> None:
    value = torch.arange(12.0).reshape(4, 3)
    first, others = of_rows(value, ((0, 1), None)), of_rows(value, ((1, 3), (0, 2)))
    assert first.data_ptr() == value.data_ptr()
    assert first.tolist() == value[:2].tolist()
    assert others.tolist() == [[3.0, 5.0], [9.0, 11.0]]
    assert of_rows(value, (None, (0, 1, 2))) is value


def test_gradients_of_rows_are_those_of_the_whole() -> None:
    value = torch.zeros(4, 3, requires_grad=True)
    (of_rows(value, ((0, 1), (1, 2))).sum() + of_rows(value, ((1, 3), None)).sum()).backward()
    assert value.grad is not None
    assert value.grad.tolist() == [[0, 1, 1], [1, 2, 2], [0, 0, 0], [1, 1, 1]]


def test_an_entry_follows_its_parent_and_keeps_what_is_its_own() -> None:
    torch.manual_seed(0)
    wide, narrow = (
        capture(nn.Sequential(nn.Linear(3, n), nn.BatchNorm1d(n)).eval(), (torch.zeros(2, 3),)).program for n in (4, 2)
    )
    rows = {"0.weight": ((0, 2), None), "0.bias": ((0, 2),), "1.weight": ((0, 2),), "1.bias": ((0, 2),)}
    entry = Entry(narrow, rows)
    parent = begin(wide)
    set_tensor(parent, "0.weight", torch.full((4, 3), 7.0))
    found = renewed(entry, finish(parent))
    assert found.get("0.weight").tolist() == [[7.0] * 3] * 2
    assert found.get("0.bias").tolist() == wide.get("0.bias")[[0, 2]].tolist()
    assert found.get("1.running_mean") is narrow.get("1.running_mean")
    assert entry.digest() == Entry(narrow, dict(reversed(rows.items()))).digest()
    assert entry.digest() != Entry(found, rows).digest()
