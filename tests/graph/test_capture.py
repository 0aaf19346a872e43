"""What stays dynamic, what things are called, what capture refuses, and that it leaves the model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import CaptureError, InputError
from compressor.graph.capture import Captured, capture, from_exported, widened
from compressor.graph.program import Program


class Words(nn.Module):
    """Token ids to scores, with a mask by keyword and a nested result."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.score = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, ids: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> dict[str, Any]:
        x = self.embed(ids) * scale
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        return {"scores": self.score(self.drop(x)), "states": [x, (x.sum(1),)], "count": 3, "none": None}


class Images(nn.Module):
    """Two images and two vectors in nested containers, by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, left: Tensor, rest: dict[str, Any]) -> tuple[Tensor, Tensor]:
        a, b = self.conv(left).mean((2, 3)), self.conv(rest["right"]).mean((2, 3))
        return a - b, self.mix(a) + rest["more"][0] * rest["more"][1]


class Counter(nn.Module):
    """Writes into its input and a buffer, which it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x.add_(1.0)
        self.seen[1:].add_(1.0)
        return self.linear(x) + self.seen, self.seen


class Applied(nn.Module):
    """A function as a model, with one weight."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.ones(3)), function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.weight)


def branches(x: Tensor, weight: Tensor) -> Tensor:
    if (x * weight).sum() > 0:  # the line that the refusal names
        return x
    return -x


def shapes(specs: Any) -> dict[str, tuple[Any, ...]]:
    return {spec.name: spec.shape for spec in specs}


def agree(model: nn.Module, program: Program, *args: Any, **kwargs: Any) -> bool:
    with torch.no_grad():
        outputs = torch.utils._pytree.tree_leaves(model.eval()(*args, **kwargs))
    tensors = [leaf for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    expected = [leaf for leaf in outputs if isinstance(leaf, Tensor)]
    return all(torch.allclose(a, b) for a, b in zip(program.run(tensors).values(), expected, strict=True))


@pytest.fixture(scope="module")
def words() -> tuple[Words, Captured]:
    torch.manual_seed(0)
    model = Words()
    return model, capture(model, (torch.randint(0, 20, (1, 6)),), {"mask": torch.ones(1, 6), "scale": 2.0})


def test_batch_and_sequence_stay_dynamic(words: tuple[Words, Captured]) -> None:
    model, captured = words
    assert captured.notes == ()
    assert captured.program.example[0].shape == (2, 6), "a batch of one is doubled"
    for batch, length in ((1, 1), (5, 9)):
        ids, mask = torch.randint(0, 20, (batch, length)), torch.rand(batch, length)
        assert agree(model, captured.program, ids, mask=mask, scale=2.0)


def test_keyword_inputs_and_nested_outputs_keep_their_names(words: tuple[Words, Captured]) -> None:
    program = words[1].program
    assert shapes(program.inputs) == {"ids": ("batch", "sequence"), "mask": ("batch", "sequence")}
    assert shapes(program.outputs) == {
        "scores": ("batch", "sequence", 3), "states.0": ("batch", "sequence", 8), "states.1.0": ("batch", 8)
    }  # fmt: skip
    assert [spec.dtype for spec in program.inputs] == [torch.int64, torch.float32]


def test_weights_are_shared_and_modes_restored(words: tuple[Words, Captured]) -> None:
    model = Words()
    model.drop.eval()
    captured = capture(model, (torch.randint(0, 20, (2, 6)),))
    assert (model.training, model.embed.training, model.drop.training) == (True, True, False)
    assert captured.program.get("embed.weight").data_ptr() == model.embed.weight.data_ptr()


def test_one_tensor_given_twice_stays_two_inputs() -> None:
    torch.manual_seed(0)
    model, image, vector = Images(), torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    program = capture(model, (image, {"right": image, "more": [vector, vector]})).program
    assert shapes(program.inputs) == {
        "left": ("batch", 3, 6, 6), "rest.right": ("batch", 3, 6, 6),
        "rest.more.0": ("batch", 4), "rest.more.1": ("batch", 4),
    }  # fmt: skip
    assert list(shapes(program.outputs)) == ["output_0", "output_1"]
    other = {"right": torch.randn(3, 3, 6, 6), "more": [torch.randn(3, 4), torch.randn(3, 4)]}
    assert agree(model, program, torch.randn(3, 3, 6, 6), other)


def test_neither_inputs_nor_buffers_are_written() -> None:
    torch.manual_seed(0)
    model, x = Counter(), torch.randn(2, 3)
    before = x.clone()
    captured = capture(model, (x,))
    assert torch.equal(x, before)
    assert model.seen.sum() == 0
    assert captured.notes == (
        "the forward writes into seen: in the captured graph every run starts from its stored value",
    )
    first, again = captured.program.run((x,)), captured.program.run((x,))
    assert torch.equal(x, before)
    assert model.seen.sum() == 0
    assert torch.equal(first["output_0"], again["output_0"])
    assert first["output_1"].tolist() == [0, 1, 1]


def test_an_output_never_has_an_inputs_name() -> None:
    program = capture(Applied(lambda x, w: {"x": x * w, "x_out": x + w}), (torch.randn(2, 3),)).program
    assert [spec.name for spec in (*program.inputs, *program.outputs)] == ["x", "x_out_2", "x_out"]


def test_inputs_weights_and_repeated_values_may_be_outputs() -> None:
    program = capture(Applied(lambda x, w: (x, w, [x + w] * 2)), (torch.randn(2, 3),)).program
    found = program.run((torch.zeros(4, 3),))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "output_0": (4, 3), "output_1": (3,), "output_2.0": (4, 3), "output_2.1": (4, 3)
    }  # fmt: skip


def test_what_nothing_ties_together_is_one_batch_where_sizes_agree() -> None:
    class Pair(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
            return a + 1, b + 1, c + 1

    program = capture(Pair(), (torch.randn(2, 3), torch.randn(2, 4), torch.randn(5, 3))).program
    assert shapes(program.inputs) == {"a": ("batch", 3), "b": ("batch", 4), "c": ("c.batch", 3)}


def test_a_batch_that_the_code_fixes_is_told_and_keeps_the_users_size() -> None:
    captured = capture(Applied(lambda x, w: x.view(1, 3) * w), (torch.randn(1, 3),))
    assert shapes(captured.program.inputs) == {"x": (1, 3)}
    assert captured.notes == ("batch of x fixed at 1: the model's code fixes it",)


def test_a_length_that_the_code_fixes_is_told() -> None:
    captured = capture(Applied(lambda x, w: x.view(x.shape[0], 2, 3) * w), (torch.randint(0, 9, (2, 6)),))
    assert shapes(captured.program.inputs) == {"x": ("batch", 6)}
    assert captured.notes == ("sequence of x fixed at 6: the model's code fixes it",)


def test_static_on_request() -> None:
    captured = capture(Applied(lambda x, w: x * w), (torch.randn(1, 3),), static=True)
    assert shapes(captured.program.inputs) == {"x": (1, 3)}
    assert captured.notes == ()


def test_a_branch_on_data_is_refused_with_its_line() -> None:
    with pytest.raises(CaptureError, match="control flow depends on data") as caught:
        capture(Applied(branches), (torch.randn(2, 3),))
    assert caught.value.where.startswith("test_capture.py:")
    assert "the line that the refusal names" in caught.value.where
    assert "torch.where" in caught.value.way_out


def test_random_outputs_are_refused() -> None:
    with pytest.raises(CaptureError, match="disagrees with the model on output 'output'"):
        capture(Applied(lambda x, w: x + torch.rand(3) * w), (torch.randn(2, 3),))


def test_no_tensor_out_is_refused() -> None:
    with pytest.raises(CaptureError, match="returns no tensor"):
        capture(Applied(lambda x, w: 3), (torch.randn(2, 3),))


def test_shapes_that_the_model_rejects_are_the_users() -> None:
    with pytest.raises(InputError, match=r"rejects inputs of shape \(2, 5\)") as caught:
        capture(nn.Sequential(nn.Linear(4, 3)), (torch.randn(2, 5),))
    assert "--input" in caught.value.way_out


def test_nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptureError):
        capture(Applied(branches), (torch.randn(2, 3),))
    assert capfd.readouterr().err == ""


def test_tied_weights_stay_one_storage() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.embed(ids))

    program = capture(Tied(), (torch.randint(0, 20, (2, 5)),)).program
    assert program.unique_bytes() == 20 * 8 * 4
    assert program.parameters() == 20 * 8


def test_a_batch_of_one_is_widened_only_where_the_model_accepts_it() -> None:
    one = ((torch.randn(1, 3),), {})
    assert widened(Applied(lambda x, w: x * w), one)[0][0].shape == (2, 3)
    assert widened(Applied(lambda x, w: x.view(3) * w), one)[0][0].shape == (1, 3)


def test_an_artifact_of_torch_export() -> None:
    exported = torch.export.export(nn.Linear(3, 2), (torch.randn(4, 3),))
    assert shapes(from_exported(exported).inputs) == {"input": (4, 3)}
    exported._example_inputs = None
    with pytest.raises(CaptureError, match="no example inputs"):
        from_exported(exported)


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.heads(x, x, x, key_padding_mask=mask, need_weights=False)[0]


def test_a_mask_that_hides_everything_is_told_apart_from_state() -> None:
    with pytest.raises(CaptureError, match="disagrees") as told:
        capture(Hidden().eval(), (torch.randn(2, 6, 16), torch.ones(2, 6, dtype=torch.bool)))
    assert "NaN" in told.value.way_out
