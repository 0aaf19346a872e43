"""The emulated root as a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.devices.emulation.root import COUNTER, COUNTING_QEMU, MANIFEST, PLUGIN, Root, find_root, root_folder
from compressor.devices.runner.counting import COUNTS
from compressor.errors import DeviceError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path))
    for program in ("base/usr/bin/python3.11", "bin/qemu-aarch64-static"):
        file = tmp_path / program
        file.parent.mkdir(parents=True)
        file.write_text("", encoding="utf-8")
        file.chmod(0o755)
    return Root(tmp_path, "python3.11", {"numpy": "2.0"}, ("cortex-a76",))


def test_what_is_saved_is_found(root: Root) -> None:
    assert root_folder() == root.path
    assert find_root() is None
    root.save()
    assert find_root() == root


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"python": 1}'])
def test_what_is_no_root_is_told(root: Root, text: str) -> None:
    (root.path / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(DeviceError, match=r"not an emulated root.*\n.*--force"):
        find_root()


def test_a_program_is_started_on_the_core_it_is_for(root: Root, tmp_path: Path) -> None:
    argv = root.argv("cortex-a76", ["python3.11", "-c", "x"])
    assert argv is not None
    assert argv[1:5] == ["-cpu", "cortex-a76", "-L", str(root.path / "cpus" / "cortex-a76")]
    assert argv[5:] == [str(root.path / "base/usr/bin/python3.11"), "-c", "x"]
    assert root.argv("cortex-a76", ["/usr/bin/python3.11"]) == argv[:6]
    assert root.argv("cortex-a76", ["ls"]) is None


def test_nothing_of_this_machines_environment_goes_in(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "x.so")
    environment = root.environment({"A": "b"})
    assert "LD_PRELOAD" not in environment
    assert (environment["A"], environment["PYTHONHASHSEED"]) == ("b", "0")
    assert environment["ORT_DISABLE_TELEMETRY"] == "1", "its threads would shift counts"


def test_an_emulator_that_is_gone_is_told(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    assert root.qemu == str(root.path / "bin/qemu-aarch64-static")
    monkeypatch.setenv("PATH", str(root.path))
    (root.path / "bin/qemu-aarch64-static").unlink()
    with pytest.raises(DeviceError, match="setup qemu --force"):
        _ = root.qemu


def test_a_root_of_before_there_was_a_counter_does_not_count(root: Root) -> None:
    (root.path / MANIFEST).write_text(
        '{"python": "python3.11", "wheels": {}, "cpus": ["cortex-a76"]}', encoding="utf-8"
    )
    found = find_root()
    assert found is not None
    assert "compress devices setup qemu" in found.uncounted
    with pytest.raises(DeviceError, match="not counted: it was set up before"):
        found.argv("cortex-a76", ["python3.11"], counting=True)


def test_counting_takes_another_emulator_whose_libraries_the_program_does_not_see(root: Root) -> None:
    plain, counting = (root.argv("cortex-a76", ["python3.11"], counting=each) or [] for each in (False, True))
    folder = root.path / COUNTER
    assert counting[:5] == [str(folder / COUNTING_QEMU), "-U", "LD_LIBRARY_PATH", "-plugin", str(folder / PLUGIN)]
    assert {"-seed", "-R"} < set(counting[5:9]), "random numbers and addresses repeat"
    assert counting[9:] == plain[1:]
    assert "LD_LIBRARY_PATH" not in root.environment({})
    assert root.environment({COUNTS: "/x"})["LD_LIBRARY_PATH"] == str(folder / "lib")


def test_a_comma_in_the_folder_is_no_option_of_the_plugin(root: Root) -> None:
    moved = Root(root.path.rename(root.path.with_name("a,b")), root.python, {}, root.cpus)
    counting = moved.argv("cortex-a76", ["python3.11"], counting=True) or []
    assert "a,,b/" in counting[4]
