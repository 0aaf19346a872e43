"""Which command runs, and what errors become."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from compressor.cli import main
from compressor.errors import CompressError, InputError


def _raise(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def command(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "main", command)
    return main.run(["x"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad"), 2),
        (CompressError("failed"), 1),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (KeyError("k"), 1),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _raise(error, monkeypatch) == code
    message = capfd.readouterr().err
    assert message.startswith("compress: ")
    assert "Traceback" not in message


def test_out_of_memory_says_the_way_out(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    _raise(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), monkeypatch)
    assert "--batch" in capfd.readouterr().err


def test_a_fault_of_ours_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_TRACEBACK", "1")
    with pytest.raises(KeyError):
        _raise(KeyError("k"), monkeypatch)


def test_help_shows_options_and_commands_and_loads_no_torch() -> None:
    code = "import sys; from compressor.cli.main import run; run(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("--target", "--max-drop", "inspect", "doctor", "verify"):
        assert word in done.stdout


def test_being_told_to_end_is_an_interruption_with_all_its_cleaning_up() -> None:
    code = (
        "import os, signal, time\nfrom compressor.cli import main\n"
        "def work(*a, **k):\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
        "    finally: print('cleaned up', flush=True)\n"
        "main.cli.main = work\nmain.entry()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")
    assert "interrupted" in done.stderr


def test_anything_that_is_no_command_is_a_model(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["./targets", "--target", "jetson"]) == 2
    assert "targets: " in capfd.readouterr().err


def test_unknown_options_exit_with_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["m.pt", "--tarmac", "jetson"]) == 2
    assert "--tarmac" in capfd.readouterr().err


def test_every_command_in_the_table_exists() -> None:
    group = main.cli
    assert isinstance(group, click.Group)
    context = click.Context(group)
    for name in group.list_commands(context):
        assert group.get_command(context, name) is not None
