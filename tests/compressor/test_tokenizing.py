"""A tokenizer of a bundle: text to ids and back, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressor import tokenizing
from compressor.errors import InputError, LoadError
from compressor.tokenizing import open_tokenizer

tokenizers = pytest.importorskip("tokenizers")


def sound() -> dict[str, Any]:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="c"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    found: dict[str, Any] = json.loads(words.to_str())
    return found


def written(folder: Path, content: Any) -> Path:
    file = folder / "tokenizer.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def test_text_and_back(tmp_path: Path) -> None:
    found = open_tokenizer(written(tmp_path, sound()), 3)
    assert found is not None
    assert found.encode("a b d") == [0, 1, 2]
    assert found.decode([1, 0]) == "b a"


def test_texts_that_are_none(tmp_path: Path) -> None:
    found = open_tokenizer(written(tmp_path, sound()), 3)
    assert found is not None
    with pytest.raises(InputError, match="no text to go on from") as raised:
        found.encode("")
    assert raised.value.where == "--prompt"
    with pytest.raises(InputError, match="UTF-8"):
        found.encode("\udcff")


def test_padding_and_truncation_are_left_out(tmp_path: Path) -> None:
    padding = {
        "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "a",
    }  # fmt: skip
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    found = open_tokenizer(written(tmp_path, {**sound(), "padding": padding, "truncation": truncation}), 3)
    assert found is not None
    assert found.encode("a b") == [0, 1]


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    found = open_tokenizer(written(tmp_path, sound()), 2)
    assert found is not None
    with pytest.raises(LoadError, match="gives the token 2, the model has 2"):
        found.encode("c")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"{}", b"[]", b"[" * 10**5, b'{"model": 5}', {**sound(), "model": {"type": "Unknown"}},
        {**sound(), "model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}},
        {**sound(), "model": {"type": "WordLevel", "vocab": "a", "unk_token": 3}}, {**sound(), "added_tokens": 7},
    ],
    ids=str,
)  # fmt: skip
def test_files_that_are_none(content: Any, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is no tokenizer") as raised:
        open_tokenizer(written(tmp_path, content), 3)
    assert "--ids" in raised.value.way_out


def test_what_fails_only_when_it_is_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A panic of the library's Rust code is no Exception."""
    pieces = [{"SpecialToken": {"id": "nowhere", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": {}}
    for changes in ({"post_processor": template}, {"model": {**sound()["model"], "unk_token": "nowhere"}}):
        found = open_tokenizer(written(tmp_path, {**sound(), **changes}), 3)
        assert found is not None
        with pytest.raises(LoadError, match="is no tokenizer"):
            found.encode("d")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_LARGEST", 10)
    with pytest.raises(LoadError, match="more than any has"):
        open_tokenizer(written(tmp_path, sound()), 3)
