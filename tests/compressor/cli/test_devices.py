"""`compress devices`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.cli.main import run


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "qemu"))
    monkeypatch.setenv("COMPRESS_ADB", str(tmp_path / "no-adb"))


def test_names_are_added_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0
    assert capsys.readouterr().out == "local  ready\n"
    assert run(["devices", "add", "pi", "ssh://pi@board"]) == 0
    assert "saved pi: ssh://pi@board" in capsys.readouterr().out
    assert run(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "saved": [{"name": "pi", "url": "ssh://pi@board"}], "seen": [{"url": "local", "state": "ready"}],
    }  # fmt: skip
    assert run(["devices"]) == 0
    assert capsys.readouterr().out == "pi  ssh://pi@board  saved\n    local           ready\n"
    assert run(["devices", "add", "pi", "ssh://pi@other"]) == 0
    assert "replaced pi" in capsys.readouterr().out
    assert run(["devices", "remove", "pi"]) == 0
    assert "removed pi: ssh://pi@other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["add", "pi", "shs://board"], "unknown kind"), (["add", "a b", "local"], "cannot name"),
        (["remove", "pi"], "no device is saved"), (["setup", "vmware"], "vmware"), (["ad"], "ad"),
        (["add", "pi"], "URL"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_message_and_status_2(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["devices", *arguments]) == 2
    said = capsys.readouterr()
    assert what in said.err
    assert said.out == ""
    assert not (tmp_path / "config").exists()


def test_setting_up_without_debians_tools_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["devices", "setup", "qemu"]) == 2
    assert "apt-get" in capsys.readouterr().err
