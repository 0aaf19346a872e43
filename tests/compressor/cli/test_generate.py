"""`compress generate` prints tokens, and tells what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiled import needs_tvm
from decoders import Growing, texts

from compressor.api import compress
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


@pytest.fixture(scope="module")
def decoder_operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder with ternary weights and kernels of our own."""
    needs_tvm()
    out = tmp_path_factory.mktemp("bundles") / "growing-operators"
    options = {"passes": "ternary:block=32:slower=true", "max_drop": "10000%", "no_cache": True}
    compress(Growing(width=32), "x86-64", data=texts("ids"), kernels="custom-op", out=out, **options)
    return out


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


def test_machine_code_that_nobody_trusts_is_not_run(decoder_operators: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["generate", str(decoder_operators), "--ids", "1,2,3", "--tokens", "3"]
    assert run(asked) == 2
    assert "model_ops.so is machine code" in capfd.readouterr().err
    assert run([*asked, "--trust"]) == 0
