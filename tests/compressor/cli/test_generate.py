"""`compress generate` prints tokens, and tells what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.cli.main import run


def test_ids(decoder_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", str(decoder_bundle), "--ids", "1,2,3", "--tokens", "5"]) == 0
    shown = capsys.readouterr()
    assert "first token" in shown.err
    assert "ms a token" in shown.err
    assert run(["generate", str(decoder_bundle), "--ids", "1 2 3", "--tokens", "5", "--json", "-q"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert told.err == ""
    assert [int(word) for word in shown.out.split()] == found["ids"]
    assert len(found["seconds"]) == len(found["ids"]) == 5


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "either --prompt or --ids"),
        (["--ids", "1", "--prompt", "a"], "either --prompt or --ids"),
        (["--ids", "one"], "no list of token ids"),
        (["--ids", "1000"], "no token"),
        (["--prompt", "hello"], "no tokenizer"),
        (["--ids", "1", "--tokens", "65"], "the model has 64"),
    ],
)
def test_what_it_refuses(
    decoder_bundle: Path, arguments: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", str(decoder_bundle), *arguments]) == 2
    assert why in capfd.readouterr().err
