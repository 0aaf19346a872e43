"""Labels that cannot be learned are refused before anything is trained."""

from __future__ import annotations

import pytest
import torch
from recovery import damaged, digits_batches, digits_program
from torch import Tensor

from compressor.errors import InputError
from compressor.passes.recover import recover


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (torch.full((32,), 77), "a label is 77; output .* has 10 classes"),
        (torch.full((32,), -1), "a label is -1"),
        (torch.full((32,), 2.5), "not whole numbers"),
        (torch.full((32,), -100), "nothing to learn"),
    ],
)
@pytest.mark.parametrize("losses", ["ce", "kl+task"])
def test_labels_that_are_no_classes_are_refused(labels: Tensor, part: str, losses: str) -> None:
    teacher = digits_program()
    batches = [{**batch, "labels": labels} for batch in digits_batches(32)[:4]]
    with pytest.raises(InputError, match=part):
        recover(damaged(teacher), teacher, batches, "1steps", losses=losses)
    assert recover(damaged(teacher), teacher, batches, "1steps").steps == 1, "who does not use them does not mind"


def test_a_teacher_that_gives_no_numbers_is_refused() -> None:
    teacher = digits_program()
    student = damaged(teacher)
    name = next(n for n, t in teacher.tensors().items() if t.dim() > 1)
    with torch.no_grad():
        teacher.get(name).fill_(torch.nan)
    with pytest.raises(InputError, match="not numbers"):
        recover(student, teacher, digits_batches(), "1steps")
