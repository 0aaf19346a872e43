"""Modules that take and give a key–value cache become functions of plain tensors; others are told apart, or why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board
from decoders import VOCABULARY, Growing, Windowed, llama, program_of, tiny_decoder
from torch import Tensor, nn

from compressor.errors import CaptureError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.decoder import decoder_of
from compressor.graph.kv_cache import going_on, next_past, with_past
from compressor.graph.spelled import replaced
from compressor.load import Loaded, to_program

IDS = torch.randint(1, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(1))


def test_a_cache_becomes_inputs_and_outputs() -> None:
    program = tiny_decoder()
    assert [(spec.name, spec.shape) for spec in program.inputs] == [
        ("ids", ("batch", "sequence")),
        ("past_key_values.states", ("batch", "past", 16)),
    ]
    assert [(spec.name, spec.shape) for spec in program.outputs] == [
        ("logits", ("batch", "sequence", VOCABULARY)),
        ("present.states", ("batch", "past + sequence", 16)),
    ]
    assert "out.weight" in program.tensors(), "parameters keep their names"


@pytest.mark.parametrize("first", [1, 5, 11])
def test_the_cache_changes_nothing(first: int) -> None:
    program = tiny_decoder()
    whole = program.run({"ids": IDS})["logits"]
    after = program.run(going_on(program, {"ids": IDS}, first))["logits"]
    torch.testing.assert_close(after, whole[:, first:], rtol=1e-4, atol=1e-5)


def test_hugging_face_with_a_window_shorter_than_the_text() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.MistralForCausalLM(config).eval()
    program = program_of(model)
    assert [spec.name for spec in program.inputs][2:] == ["past_key_values.0.key", "past_key_values.0.value"]
    assert program.inputs[1].shape == ("batch", "past + sequence")
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with torch.no_grad():
        theirs = model(**batch).logits
    after = program.run(going_on(program, batch, 9))["logits"]
    torch.testing.assert_close(after, theirs[:, 9:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["cut", "if", "max"])
@pytest.mark.parametrize("window", [5, 24])
def test_a_cache_that_is_cut_to_a_window(how: str, window: int, tmp_path: Path) -> None:
    """Longer or shorter than the example, the artifact goes on like PyTorch for 32 tokens past the window."""
    model = Windowed(window, how).eval()
    program = program_of(model, mask=False, name="ids")
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    run = runner(tmp_path / "model.onnx")
    ids = torch.randint(1, VOCABULARY, (2, window + 34), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        theirs = model(ids)[0]
    for start in (2, window + 2):
        out = run(with_past(program.inputs, {"ids": ids[:, :start]}))
        torch.testing.assert_close(out["logits"], theirs[:, :start], rtol=1e-4, atol=1e-5)
        for place in range(start, ids.shape[1]):
            out = run({"ids": ids[:, place : place + 1], **next_past(out)})
            torch.testing.assert_close(out["logits"][:, 0], theirs[:, place], rtol=1e-4, atol=1e-5)
        assert out["present.0.key"].shape[1] == window


def test_a_window_is_found_where_the_example_does_not_show_it() -> None:
    ids = IDS[:, :8]
    for model, longest, window in ((Windowed(24, "if"), 24, 24), (Growing(), None, None), (Other(), 20, None)):
        decoder = decoder_of(model, (), {"ids": ids})
        assert decoder is not None
        with replaced(model, decoder.forward):
            captured = capture(model, (), decoder.kwargs, growing=decoder.growing)
        assert captured.longest == longest
        if isinstance(model, Other):
            with pytest.raises(CaptureError, match="takes another way for texts of more than 20 tokens"):
                decoder.window(captured.program, 20)
        else:
            assert decoder.window(captured.program, longest or 56) == window, "beyond its table there is none, either"


class Other(Growing):
    """Computes otherwise behind 20 places."""

    def forward(self, ids: Tensor, past_key_values: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        scores, cache = super().forward(ids, past_key_values)
        return (2 * scores if cache["states"].shape[1] > 20 else scores), cache


def test_llama_masked_at_the_left() -> None:
    model, mask = llama(), torch.ones_like(IDS)
    mask[0, :3] = 0
    program, batch = program_of(model), {"input_ids": IDS, "attention_mask": mask}
    with torch.no_grad():
        theirs = model(**batch).logits
    after = program.run(going_on(program, batch, 8))["logits"]
    torch.testing.assert_close(after, theirs[:, 8:], rtol=1e-4, atol=1e-4)


class Plain(nn.Module):
    """No cache, or one that it never gives."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Growing()

    def forward(self, ids: Tensor, past_key_values: Any = None) -> Tensor:
        scores: Tensor = self.net(ids)[0]
        return scores


class Embedding(Growing):
    """A cache, and no scores."""

    def forward(self, ids: Tensor, past_key_values: Any = None) -> Any:
        scores, cache = super().forward(ids, past_key_values)
        return scores[..., :5], cache


@pytest.mark.parametrize("model", [Plain(), Embedding(), nn.Linear(2, 2)])
def test_what_is_no_decoder(model: nn.Module) -> None:
    assert decoder_of(model, (IDS,), {}) is None


class Forgetful(Growing):
    """Its places begin anew with each call."""

    def forward(self, ids: Tensor, past_key_values: Any = None) -> Any:
        scores, cache = super().forward(ids)
        if past_key_values is not None:
            cache = {"states": torch.cat([past_key_values["states"], cache["states"]], 1)}
        return scores, cache


class Fixed(Growing):
    """What it keeps has one size."""

    def forward(self, ids: Tensor, past_key_values: Any = None) -> Any:
        scores, cache = super().forward(ids)
        return scores, {"states": cache["states"].sum(1, keepdim=True)}


@pytest.mark.parametrize(("model", "why"), [(Forgetful(), "scores other tokens"), (Fixed(), "does not grow")])
def test_a_cache_that_cannot_be_one_is_told(model: nn.Module, why: str) -> None:
    with pytest.raises(CaptureError, match=why):
        decoder_of(model, (IDS,), {})
    captured = to_program(Loaded("net", "nn.Module", module=model), (IDS,), synthetic=True, kv_cache=True)
    assert any("without a key–value cache" in note and why in note for note in captured.notes)
    assert "past_key_values" not in str(captured.program.inputs)


def test_a_text_too_short_to_be_cut_is_repeated() -> None:
    decoder = decoder_of(Growing(), (IDS[:, :3],), {})
    assert decoder is not None
    assert decoder.kwargs["ids"].shape[1] >= 2
    assert decoder.kwargs["past_key_values"]["states"].shape[1] >= 2


def test_without_a_cache_on_request() -> None:
    program = to_program(Loaded("net", "nn.Module", module=Growing()), (IDS,), synthetic=True).program
    assert [spec.name for spec in program.inputs] == ["ids"]
