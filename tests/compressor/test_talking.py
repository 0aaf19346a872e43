"""A bundle is talked to by ids or text, always checked first; the same seed says the same."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import rewritten
from decoders import VOCABULARY, Growing

from compressor.errors import ExportError, InputError, LoadError
from compressor.graph.decoder import eager_scores
from compressor.quant.codecs.unpack import MAGIC
from compressor.talking import Talker, open_talker


@pytest.fixture
def talker(decoder_bundle: Path) -> Talker:
    return open_talker(str(decoder_bundle), threads=1)  # as a user writes it


def test_it_says_what_the_model_does(talker: Talker) -> None:
    ids = [1, 2, 3]
    for _ in range(8):
        ids.append(int(eager_scores(Growing(), {"ids": torch.tensor([ids])}, "ids")[0, -1].argmax()))
    assert list(talker.stream([1, 2, 3], 8)) == ids[3:]
    assert len(talker.seconds) == 8


def test_a_library_of_tvms_says_the_same(tvm_decoder_bundle: Path, talker: Talker) -> None:
    compiled = open_talker(tvm_decoder_bundle, threads=1, trust=True)
    assert list(compiled.stream([1, 2, 3], 32)) == list(talker.stream([1, 2, 3], 32))
    with pytest.raises(InputError, match="60 tokens and 10 more take 69 places, the model has 64"):
        next(compiled.stream([1] * 60, 10))
    with pytest.raises(InputError, match="machine code"):
        open_talker(tvm_decoder_bundle)


def test_drawn_tokens_follow_the_seed(talker: Talker) -> None:
    one, again, other = (list(talker.stream([5], 16, temperature=2.0, seed=seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_it_stops_at_an_end(talker: Talker) -> None:
    whole = list(talker.stream([1, 2, 3], 8))
    talker.ends = frozenset({whole[4]})
    assert list(talker.stream([1, 2, 3], 8)) == whole[: whole.index(whole[4])]


@pytest.mark.parametrize(
    ("ids", "told"), [([], "no tokens"), ([1, VOCABULARY], f"{VOCABULARY} is no token"), ([3, -1], "-1 is no token")]
)
def test_what_is_no_token(talker: Talker, ids: list[int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        list(talker.stream(ids, 1))


@pytest.mark.parametrize("temperature", [math.nan, math.inf, -1.0])
def test_what_is_no_temperature(talker: Talker, temperature: float) -> None:
    with pytest.raises(InputError, match="no temperature"):
        list(talker.stream([1], 1, temperature=temperature))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers(talker: Talker, score: float, temperature: float) -> None:
    run, scores = talker.decoder.run, talker.decoder.scores
    talker.decoder.run = lambda feed: {n: v * score if n == scores else v for n, v in run(feed).items()}
    with pytest.raises(ExportError, match="behind 2 tokens are no numbers"):
        list(talker.stream([1, 2], 1, temperature=temperature))


def test_no_places_left(talker: Talker) -> None:
    with pytest.raises(InputError, match="60 tokens and 10 more take 69 places, the model has 64") as caught:
        next(talker.stream([1] * 60, 10))  # before it says anything
    assert "--tokens 5 at most" in caught.value.way_out
    assert len(list(talker.stream([1] * 60, 5))) == 5
    with pytest.raises(InputError, match="the model has 64") as caught:
        next(talker.stream([1] * 65, 1))
    assert caught.value.way_out == "Give a shorter text."


def changed(bundle: Path, out: Path, **decoder: object) -> Path:
    """A copy whose manifest says something else of the decoder."""
    rewritten(bundle, out, "recipe.toml", b"")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["decoder"] |= decoder
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_places_are_not_taken_from_the_manifest(decoder_bundle: Path, tmp_path: Path) -> None:
    few = open_talker(changed(decoder_bundle, tmp_path / "few", places=8), threads=1)
    assert len(list(few.stream([1], 64))) == 64
    with pytest.raises(InputError, match="the model has 64"):
        next(few.stream([1] * 30, 50))
    many = open_talker(changed(decoder_bundle, tmp_path / "many", places=10**6), threads=1)
    with pytest.raises(ExportError, match="behind 64"):
        list(many.stream([1] * 60, 10))
    made_for = open_talker(changed(decoder_bundle, tmp_path / "limit", limit=16), threads=1)
    with pytest.raises(InputError, match="the model has 16"):
        next(made_for.stream([1] * 10, 8))


@pytest.mark.parametrize("scores", ["present.states", "elsewhere"])
def test_scores_that_are_none(decoder_bundle: Path, tmp_path: Path, scores: str) -> None:
    bundle = changed(decoder_bundle, tmp_path / "copy", scores=scores)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["outputs"][0]["name"] = scores
    golden = dict(np.load(bundle / "golden.npz"))
    np.savez(tmp_path / "golden.npz", **{**golden, scores: golden["logits"]})
    content = (tmp_path / "golden.npz").read_bytes()
    (bundle / "golden.npz").write_bytes(content)
    manifest["files"]["golden.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="tokens behind 0 get"):
        next(open_talker(bundle).stream([1, 2], 1))


def test_without_a_tokenizer(talker: Talker) -> None:
    with pytest.raises(InputError, match="no tokenizer") as caught:
        talker.encode("")
    assert "--ids" in caught.value.way_out
    assert talker.decode([1, 2]) == "1 2"


def test_with_a_tokenizer(decoder_bundle: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="c"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    bundle = rewritten(decoder_bundle, tmp_path / "words", "tokenizer.json", words.to_str().encode())
    talker = open_talker(bundle)
    assert talker.encode("a b b") == [0, 1, 1]
    assert talker.decode([1, 0]) == "b a"
    broken = rewritten(decoder_bundle, tmp_path / "broken", "tokenizer.json", b"{}")
    with pytest.raises(LoadError, match="no tokenizer"):
        open_talker(broken)


def test_what_is_no_decoder(digits_bundle: Path) -> None:
    with pytest.raises(InputError, match="no causal language model"):
        open_talker(digits_bundle)


def test_the_manifest_says_how_it_was_checked(decoder_bundle: Path) -> None:
    said = json.loads((decoder_bundle / "manifest.json").read_text())["decoder"]
    assert (said["tokens"], said["scores"], said["vocabulary"], said["places"]) == ("ids", "logits", VOCABULARY, 64)
    assert (said["checked"]["tokens"], said["checked"]["equal"]) == (32, 1.0)


def test_a_manifest_that_lies_is_refused(decoder_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no causal language model"):
        open_talker(changed(decoder_bundle, tmp_path / "copy", tokens="elsewhere"))


def test_a_packed_bundle_is_talked_to_as_it_is(decoder_bundle: Path, talker: Talker, tmp_path: Path) -> None:
    content = (decoder_bundle / "model.onnx").read_bytes()
    fields = {"version": 1, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "parts": []}
    header = json.dumps(fields).encode()
    whole = MAGIC + struct.pack("<I", len(header)) + header + content
    packed = rewritten(decoder_bundle, tmp_path / "packed", "model.onnx.pack", whole)
    manifest = json.loads((packed / "manifest.json").read_text())
    for name in ("model.onnx", "model.ort"):
        (packed / name).unlink()
        del manifest["files"][name]
    (packed / "manifest.json").write_text(json.dumps(manifest))
    assert list(open_talker(packed, threads=1).stream([1, 2, 3], 8)) == list(talker.stream([1, 2, 3], 8))
