"""The runner on a device: pushed into a folder that goes again, and errors that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_device import OwnDevice, program

from compressor.devices.journal import FOLDER, Journal
from compressor.devices.remote import failure, on_device
from compressor.errors import DeviceError, DeviceLostError, ExportError, OutputError, UnsupportedError


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def test_the_folder_holds_the_runner_and_is_removed(tmp_path: Path) -> None:
    device = OwnDevice()
    (tmp_path / "a.txt").write_text("a")
    with on_device(device) as remote:
        remote.push("0", {"b.txt": tmp_path / "a.txt"})
        [folder] = device.folders
        assert (folder / "0" / "b.txt").read_text() == "a"
        assert (folder / "runner" / "__main__.py").is_file()
        assert not (folder / "runner" / "__pycache__").exists()
        events: list[dict[str, Any]] = []
        remote.run("check", [], timeout=60, on_event=events.append)
        assert [event["event"] for event in events] == ["description"]
    assert not folder.exists()


def test_a_file_that_cannot_be_put_together_is_told(tmp_path: Path) -> None:
    with on_device(OwnDevice()) as remote, pytest.raises(OutputError, match="cannot be copied"):
        remote.push("0", {"a": tmp_path / "absent"})


def test_the_folder_is_removed_after_the_device_was_lost() -> None:
    device = OwnDevice(lost_after=0)
    with pytest.raises(DeviceLostError), on_device(device) as remote:
        remote.run("check", [], timeout=60, on_event=ignore)
    assert not device.folders[0].exists()


def test_what_runs_left_is_removed_unless_they_go_on(tmp_path: Path) -> None:
    journal, device = Journal(tmp_path / "run.jsonl"), OwnDevice()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name, process in (("own", os.getpid()), ("ended", ended.pid), ("running", os.getppid())):
        journal.add({"event": FOLDER, "path": f"/tmp/compress-{name}", "process": process})
    with on_device(device, journal) as remote:
        assert device.discarded == ["/tmp/compress-own", "/tmp/compress-ended"]
        assert journal.named(FOLDER)[-1] == {"event": FOLDER, "path": remote.folder, "process": os.getpid()}


def test_what_a_library_prints_is_no_event(tmp_path: Path) -> None:
    script = 'echo Warning: GPU; echo "[1]"; echo "{\\"event\\": \\"state\\"}"; echo "{\\"event\\": \\"done\\"}"'
    device = OwnDevice(python=(str(program(tmp_path / "bin", "python", script) / "python"),))
    events: list[dict[str, Any]] = []
    with on_device(device) as remote:
        remote.run("check", [], timeout=60, on_event=events.append)
    assert events == [{"event": "state"}]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('echo "{\\"event\\": \\"missing\\", \\"package\\": \\"onnxruntime\\", \\"reason\\": \\"none\\"}"; exit 1',
         "pip install onnxruntime"),
        ("exit 137", "memory"), ("exit 132", "lacks an instruction"),
        ("echo 'SyntaxError: invalid syntax' >&2; exit 1", "SyntaxError.*(.|\n)*3.8"),
        ("exit 0", "wrote no reason"),
        ("echo '{\"event\": \"done\"}'; exit 3", "status 3"),
    ],
)  # fmt: skip
def test_a_runner_that_does_not_end_well_is_told_with_the_way_out(tmp_path: Path, script: str, told: str) -> None:
    device = OwnDevice(python=(str(program(tmp_path / "bin", "python", script) / "python"),))
    with on_device(device) as remote, pytest.raises(DeviceError, match=told):
        remote.run("check", [], timeout=60, on_event=ignore)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("unsupported", UnsupportedError), ("load", ExportError), ("run", ExportError), ("inputs", ExportError)],
)
def test_a_failed_job_is_the_error_of_its_kind(kind: str, error: type[Exception]) -> None:
    made = failure({"kind": kind, "reason": "opset 26"}, "digits", "ssh://board")
    assert type(made) is error
    assert "opset 26" in str(made)
    assert "digits on ssh://board" in str(made)


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "golden", "id": "0"}', '{"event": "golden", "id": "another", "errors": {}}',
        '{"event": "round", "index": 0, "clock_mhz": null, "blocks": {"0": {"runs": 0}}}',
        '{"event": "round", "index": 0, "clock_mhz": null, "blocks": {"1": {}}}',
    ],
)  # fmt: skip
def test_a_runner_that_makes_no_sense_is_not_believed(tmp_path: Path, line: str) -> None:
    script = f"echo '{line}'; echo '{{\"event\": \"done\"}}'"
    device = OwnDevice(python=(str(program(tmp_path / "bin", "python", script) / "python"),))
    events: list[dict[str, Any]] = []
    with on_device(device) as remote, pytest.raises(DeviceError, match=r"no sense: .*event"):
        remote.run("check", [{"id": "0"}], timeout=60, on_event=events.append)
    assert events == []


def test_what_is_nested_without_end_is_no_event(tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'print(chr(91) * 100000)'; echo '{{\"event\": \"done\"}}'"
    device = OwnDevice(python=(str(program(tmp_path / "bin", "python", script) / "python"),))
    with on_device(device) as remote:
        remote.run("check", [], timeout=60, on_event=ignore)
