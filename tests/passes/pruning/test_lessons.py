"""The user's training function: what it is given, and every way in which it can be wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from programs import conv, text
from recovery import digits_batches, digits_program
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.mode import set_mode
from compressor.graph.program import Program
from compressor.passes.pruning.lessons import Pupil, backward, losses


def _pupil(program: Program) -> Pupil:
    return Pupil(program, set_mode(program, batch_norm=True).module, program.module)


X = digits_batches()[0]["x"]


def test_the_network_is_called_as_the_original() -> None:
    pupil = _pupil(conv())
    program = conv()
    x = torch.randn(4, 3, 8, 8)
    [wanted] = program.run([x]).values()
    assert torch.allclose(pupil.eval()(x), wanted)
    assert torch.allclose(pupil(x=x), wanted)
    assert pupil.train().training
    assert not torch.allclose(pupil(x), wanted), "it trains: its batch norms use the batch"
    assert {name for name, _ in pupil.named_parameters()} >= {"network.conv.weight"}


def test_several_outputs_come_by_name() -> None:
    program = text()
    pupil = _pupil(program)
    found = pupil(*program.example)
    assert found.logits.shape[-1] == 50
    assert len(found) == len(program.outputs)


def test_a_wrong_call_says_what_it_takes() -> None:
    with pytest.raises(InputError, match="called with 2 inputs") as error:
        _pupil(digits_program())(X, X)
    assert "It takes x" in error.value.way_out
    with pytest.raises(InputError, match=r"\['y'\]"):
        _pupil(digits_program())(y=X)


def test_the_function_is_called_again_when_it_ends() -> None:
    calls: list[int] = []

    def epoch(model: Pupil) -> Iterator[Tensor]:
        calls.append(1)
        model.eval()
        for _ in range(3):
            yield model(X).sum()

    pupil = _pupil(digits_program())
    assert len(list(itertools.islice(losses(epoch, pupil), 7))) == 7
    assert len(calls) == 3


def _returns(value: object) -> Callable[..., object]:
    return lambda model: value


def _raises(model: Pupil) -> Iterator[Tensor]:
    raise ValueError("no such file")
    yield model(X)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "none is given"),
        (_returns(None), "returned NoneType"),
        (_returns(torch.ones(())), "returned Tensor"),
        (lambda model, batch: [], "the function failed: TypeError"),
        (_returns([]), "yields nothing"),
        (_returns([1.0]), "yields a float, not a loss"),
        (_returns([torch.zeros(3)]), r"a tensor of shape \(3,\), not a loss"),
        (_returns([torch.tensor(float("nan"))]), "the loss of step 1 is nan"),
        (_raises, "the function failed: ValueError: no such file"),
    ],
)
def test_what_is_no_training_function(function: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        next(losses(function, _pupil(digits_program())))
    assert error.value.where


def test_an_error_of_the_function_says_where_it_was_raised() -> None:
    line = _raises.__code__.co_firstlineno + 1
    with pytest.raises(InputError) as error:
        next(losses(_raises, _pupil(digits_program())))
    assert error.value.where == f"--train test_lessons.py:{line}"


def test_a_loss_without_gradients() -> None:
    pupil = _pupil(digits_program())
    with torch.no_grad():
        loss = pupil(X).sum()
    with pytest.raises(InputError, match="no gradients to take") as error:
        backward(loss, pupil.parameters())
    assert "without backward()" in error.value.way_out
    loss = pupil(X).sum()
    torch.autograd.backward(loss)
    with pytest.raises(InputError, match="no gradients to take"):
        backward(loss, pupil.parameters())


def test_a_loss_of_something_else() -> None:
    with pytest.raises(InputError, match="does not depend on the model"):
        backward(torch.ones(1, requires_grad=True).sum(), _pupil(digits_program()).parameters())
