"""Pass lists as text and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from compressor import passes
from compressor.errors import RecipeError
from compressor.graph.contract import Context, Pass, PassResult
from compressor.graph.program import Program
from compressor.passlist import PassSpec, parse_passes, pass_options


@dataclass(frozen=True)
class Sample(Pass):
    """A pass with an option of each type."""

    name: ClassVar[str] = "sample"
    main: ClassVar[str] = "ratio"
    ratio: float = 0.5
    count: int = 3
    score: Literal["taylor", "magnitude"] = "taylor"
    fast: bool = False
    limit: float | None = None

    def run(self, program: Program, context: Context) -> PassResult:
        return PassResult(program)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(passes.PASSES, "sample", f"{__name__}:Sample")
    monkeypatch.setattr(
        "compressor.passlist.find_pass", lambda name: Sample if name == "sample" else passes.find_pass(name)
    )


def test_options_are_the_dataclass_fields() -> None:
    assert list(pass_options(Sample)) == ["ratio", "count", "score", "fast", "limit"]


def test_every_type_is_converted_and_prints_back() -> None:
    text = "sample=0.25:count=7:score=magnitude:fast=true:limit=none"
    [spec] = parse_passes(text)
    assert spec.build() == Sample(ratio=0.25, count=7, score="magnitude", fast=True, limit=None)
    assert str(spec) == text


def test_a_format_alone_is_short_for_quantize() -> None:
    [fold, int8] = parse_passes("fold, int8")
    assert (fold.name, int8.name, int8.options) == ("fold", "quantize", {"format": "int8"})
    assert str(int8) == "quantize=int8"


def test_keep_reaches_the_pass() -> None:
    assert PassSpec("sample").build(keep=("head.*",)).keep == ("head.*",)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("fodl", "Did you mean fold"),
        ("fold,,int8", "empty pass"),
        ("sample:rate=1", "no option 'rate'"),
        ("sample=abc", "is not a float"),
        ("sample=nan", "is not a float"),
        ("sample:count=2.5", "is not a int"),
        ("sample:score=best", "is not one of taylor, magnitude"),
        ("sample:fast=maybe", "is not a bool"),
        ("sample:count", "is not option=value"),
        ("sample=", "no value"),
        ("int8=3", "takes no value"),
        ("fold=2", "takes no value"),
        (":", "no pass name"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, part: str) -> None:
    with pytest.raises(RecipeError, match=part):
        parse_passes(text)


def test_none_is_a_list_without_passes() -> None:
    assert parse_passes("none") == parse_passes("") == []
    with pytest.raises(RecipeError, match="no pass called 'none'"):
        parse_passes("fold,none")
