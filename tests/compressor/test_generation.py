"""What an artifact generates with its cache is held to PyTorch: the same tokens, or ties; another answer is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import VOCABULARY, Growing, llama, program_of, texts, tiny_decoder
from torch import Tensor

from compressor.errors import MismatchError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.generation import decoding, interface_of
from compressor.graph.decoder import eager_scores
from compressor.graph.kv_cache import with_past
from compressor.targets import load_target

BATCH = with_past(tiny_decoder().inputs, {name: value[:3] for name, value in texts("ids").items()})


def original(text: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {"logits": eager_scores(Growing(), {"ids": text["ids"]}, "ids")}


def test_the_interface() -> None:
    names = interface_of(tiny_decoder())
    assert (names.tokens, names.scores, names.vocabulary) == ("ids", "logits", VOCABULARY)


def test_onnx_runtime_generates_what_hugging_face_does(tmp_path: Path) -> None:
    model = llama(layers=1)
    program = program_of(model)
    to_onnx(program, load_target("x86-64")).save(tmp_path / "model.onnx")
    ids = torch.randint(1, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(5))
    batch = with_past(program.inputs, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    asked: list[Tensor] = []

    def eager(text: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        asked.append(text["input_ids"])
        return {"logits": eager_scores(model, text, "input_ids")}

    found = decoding(program, eager, runner(tmp_path / "model.onnx"), batch, 1e-4, read=16, past=16)
    assert (found.tokens, found.texts, found.equal, found.own) == (32, 2, 1.0, 1.0)
    assert found.error < 1e-5
    generate: Any = model.generate
    theirs = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False, eos_token_id=None)
    assert torch.equal(asked[0], theirs), "by transformers' own loop and cache, token by token"
    assert "the same tokens" in str(found)


def test_the_share_of_equal_tokens_against_another_original() -> None:
    torch.manual_seed(1)
    other = program_of(Growing(), mask=False, name="ids")
    with torch.no_grad():
        other.get("out.weight").add_(0.05 * torch.randn_like(other.get("out.weight")))
    found = decoding(other, original, other.run, BATCH, 1e-4, read=16, past=16)
    assert 0.3 < found.equal < 1
    assert 1e-3 < found.error < 1
    assert found.own == 1
    assert f"{found.equal:.1%}" in str(found)


@pytest.mark.parametrize("name", ["logits", "present.states"])
def test_another_answer_is_refused(name: str) -> None:
    program = tiny_decoder()

    def wrong(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = program.run(batch)
        return {**results, name: 1.5 * results[name].flip(1)}

    with pytest.raises(MismatchError, match="with the cache disagrees"):
        decoding(program, original, wrong, BATCH, 1e-4, read=16, past=16)


def test_scores_that_are_no_numbers_are_refused() -> None:
    program = program_of(Growing(), mask=False, name="ids")
    scores = interface_of(program).scores

    def run(feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: v * torch.inf if name == scores else v for name, v in program.run(feed).items()}

    with pytest.raises(MismatchError, match="in the artifact alone"):
        decoding(program, program.run, run, texts("ids", 2), 1e-4, read=8, past=8)
