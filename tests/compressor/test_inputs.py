"""`--input` is read strictly, example inputs suit the model, and synthetic batches suit the program."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.inputs import InputSpec, example_inputs, parse_input, synthetic_batches


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x224x224", InputSpec(None, (1, 3, 224, 224), None)),
        ("input_ids=1x128:int64", InputSpec("input_ids", (1, 128), "int64")),
        ("3:float16", InputSpec(None, (3,), "float16")),
        ("t=scalar:float32", InputSpec("t", (), "float32")),
        ("scalar", InputSpec(None, (), None)),
        ("d.b.0=2×4", InputSpec("d.b.0", (2, 4), None)),
    ],
)
def test_parse(text: str, expected: InputSpec) -> None:
    assert parse_input(text) == expected


@pytest.mark.parametrize(
    ("text", "what", "way_out"),
    [
        ("1x3:float", "unknown dtype 'float'", "float32"),
        ("1x3:int46", "unknown dtype 'int46'", "int64"),
        ("1x3:", "unknown dtype ''", "Known"),
        ("1x0x3", "'0' is not", "Write it as"),
        ("batchx3", "'batch'", "stays dynamic"),
        ("1xx3", "a dimension is missing", "Write it as"),
        ("", "a dimension is missing", "Write it as"),
        ("=1x3", "'' is not an input's name", "Write it as"),
        ("a b=1", "'a b' is not", "Write it as"),
        ("1,3,4", "'1,3,4' is not", "1x3x224x224"),
        ("-1x3", "'-1' is not", "Write it as"),
        ("99999x99999x9", "too many", "smaller"),
    ],
)
def test_parse_says_what_is_wrong(text: str, what: str, way_out: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_input(text)
    assert what in caught.value.what
    assert way_out in caught.value.way_out
    assert text in caught.value.where


@given(st.text(max_size=30) | st.from_regex(r"([a-z.]*=)?[0-9x-]*(:[a-z0-9]*)?", fullmatch=True))
def test_parse_never_fails_otherwise(text: str) -> None:
    try:
        spec = parse_input(text)
    except InputError:
        return
    assert all(size > 0 for size in spec.shape)


class Language(nn.Module):
    """Ids, a mask and an optional keyword, as transformers take them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(50, 8), nn.Embedding(2, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(
        self, tokens: Tensor | None = None, mask: Tensor | None = None, *, kinds: Tensor | None = None
    ) -> Tensor:
        if tokens is None:
            raise ValueError("give tokens")
        x = self.words(tokens)
        if kinds is not None:
            x = x + self.kinds(kinds)
        x = self.norm(x.transpose(1, 2))
        return x if mask is None else x * mask[:, None]


def test_a_shape_as_python_has_it() -> None:
    assert parse_input((1, 3, 32, 32)) == parse_input("1x3x32x32")
    assert parse_input([4]) == parse_input("4")
    for wrong in ((1, "3"), 4, None, (0, 3)):
        with pytest.raises(InputError):
            parse_input(wrong)  # type: ignore[arg-type]


def test_integers_are_found_out_and_stay_in_range() -> None:
    model = Language().train()
    specs = [parse_input(text) for text in ("2x64", "mask=2x64:int64", "kinds=2x64:int64")]
    (tokens, mask), kwargs = example_inputs(model, specs, seed=1)
    assert tokens.dtype == torch.int64
    assert 2 < tokens.max() < 50
    assert set(mask.unique().tolist()) == {0, 1}
    assert set(kwargs["kinds"].unique().tolist()) == {0, 1}
    assert model.training
    assert model.norm.num_batches_tracked == 0
    again, _ = example_inputs(model, specs, seed=1)
    assert torch.equal(tokens, again[0])
    other, _ = example_inputs(model, specs, seed=2)
    assert not torch.equal(tokens, other[0])


def test_mixed_dtypes_and_half_weights_are_found_out() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor, tokens: Tensor) -> Any:
            return self.layer(x) + self.words(tokens)

    (x, tokens), _ = example_inputs(Both().half(), [parse_input("3x4"), parse_input("3")])
    assert (x.dtype, tokens.dtype) == (torch.float16, torch.int64)


def test_nested_inputs_are_rebuilt() -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor, d: Any) -> Tensor:
            return x + d["a"] + d["b"][0]

    args, kwargs = example_inputs(Nested(), [parse_input(t) for t in ("2x3", "d.a=2x3", "d.b.0=2x3")])
    assert not kwargs
    assert Nested()(*args).shape == (2, 3)


@pytest.mark.parametrize(
    ("texts", "what", "way_out"),
    [
        ([], "needs inputs: input", "--input 1x3x224x224"),
        (["1x3x8x8", "1x3"], "more than the model takes", "Drop one"),
        (["inptu=1x3x8x8"], "no input 'inptu'", "Did you mean input"),
        (["input=1x3x8x8", "input=1x3"], "given twice", ""),
    ],
)
def test_names_that_do_not_fit(texts: list[str], what: str, way_out: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError) as caught:
        example_inputs(model, [parse_input(text) for text in texts])
    assert what in caught.value.what
    assert way_out in caught.value.way_out


def test_a_model_without_parameters_needs_no_inputs() -> None:
    class Constant(nn.Module):
        def forward(self) -> Tensor:
            return torch.ones(2)

    assert example_inputs(Constant(), []) == ((), {})


@pytest.fixture(scope="module")
def language() -> Program:
    specs = [parse_input(text) for text in ("2x12:int64", "mask=2x12:int64", "kinds=2x12:int64")]
    model = Language()
    return capture(model, *example_inputs(model, specs), synthetic=True).program


def test_batches_follow_dynamic_dimensions_and_ranges(language: Program) -> None:
    batches = synthetic_batches(language, count=3, batch_size=5, seed=0)
    assert len(batches) == 3
    for batch in batches:
        assert list(batch) == ["tokens", "mask", "kinds"]
        assert {tuple(tensor.shape) for tensor in batch.values()} == {(5, 12)}
        language.run(batch)
    tokens = torch.stack([batch["tokens"] for batch in batches])
    assert 40 < tokens.max() < 50
    assert not torch.equal(tokens[0], tokens[1])
    again = synthetic_batches(language, count=3, batch_size=5, seed=0)
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(batches, again, strict=True))


def test_batches_of_a_static_program_keep_its_size() -> None:
    program = capture(nn.Linear(4, 2), (torch.randn(3, 4),), static=True).program
    (batch,) = synthetic_batches(program, count=1, batch_size=8)
    assert batch["input"].shape == (3, 4)


def test_importing_loads_no_torch() -> None:
    modules = "compressor.inputs, compressor.data, compressor.metrics, compressor.binding, compressor.userfile"
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
