"""The contract of a pass: frozen, its fields are its options, and the base states no opinion."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields
from typing import ClassVar

import pytest
import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context, Pass, PassResult, Skip
from compressor.graph.program import Program
from compressor.targets import load_target


@dataclass(frozen=True)
class Nothing(Pass):
    """Declines everywhere."""

    name: ClassVar[str] = "nothing"
    main: ClassVar[str] = "amount"
    amount: float = 0.5

    def run(self, program: Program, context: Context) -> PassResult:
        return PassResult(program, skipped=(Skip("weight", "there is nothing to do"),))


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(load_target("raspberry-pi-5"))


def test_the_contract_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Pass()  # type: ignore[abstract]


def test_options_are_fields_and_what_every_pass_has_is_by_keyword() -> None:
    assert [field.name for field in fields(Nothing)] == ["sites", "keep", "amount"]
    assert Nothing(0.25, keep=("head.*",)).amount == 0.25
    assert Nothing(sites={"a": {"amount": 1.0}}).sites["a"] == {"amount": 1.0}


def test_a_pass_is_a_value() -> None:
    assert Nothing(0.5) == Nothing()
    with pytest.raises(FrozenInstanceError):
        Nothing().amount = 1.0  # type: ignore[misc]


def test_a_pass_offers_nothing_and_claims_nothing_unless_it_says_so(context: Context) -> None:
    program = capture(nn.Linear(3, 2), (torch.randn(2, 3),)).program
    result = Nothing().run(program, context)
    assert not Nothing.exact
    assert list(Nothing().options(program, context)) == []
    assert (result.changed, dict(result.settings)) == ((), {})
    assert result.skipped[0].reason == "there is nothing to do"


def test_a_context_without_data_is_synthetic(context: Context) -> None:
    assert context.synthetic
    assert not context.calibration
    context.progress.say("silent unless someone listens")
    assert list(context.progress.over([1, 2], "batches")) == [1, 2]


def test_progress_keeps_silent_and_contexts_have_no_training_data(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    context.progress.figures("recover", 0.5, {"loss": 1.0})
    assert capsys.readouterr() == ("", "")
    assert (context.training, context.checkpoint) == ((), None)
    assert not Nothing.structural
    assert not Nothing.trains
