"""Objects become a library by what is here, or by a script on the board."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from own_device import program

from compressor.errors import ExportError
from compressor.export import tvm_linking
from compressor.export.tvm_linking import BUILD, Linker, find_linker, finish, linkers
from compressor.targets.target import Compiler

PI = Compiler("aarch64-linux-gnu", "cortex-a76", ("fp32",), "test", glibc="2.28")
OWN = Compiler("", "generic", (), "test")


@pytest.fixture
def none_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tvm_linking, "find_spec", lambda name: None)


def test_debians_cross_compiler_comes_first_and_zig_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert find_linker(PI).command[:2] == ("/bin/aarch64-linux-gnu-g++", "-shared")
    assert find_linker(OWN).command[0] == "/bin/g++"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tvm_linking, "find_spec", lambda name: name)
    zig = (sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-gnu.2.28", "-shared")
    assert find_linker(PI).command[:7] == zig


@pytest.mark.usefixtures("none_here")
def test_without_any_the_board_links_and_this_machine_s_own_is_asked_for() -> None:
    assert find_linker(PI) == Linker(())
    assert linkers(PI) == "apt install g++-aarch64-linux-gnu, or pip install ziglang"
    with pytest.raises(ExportError, match=r"no C\+\+ compiler(.|\n)*apt install g\+\+"):
        find_linker(OWN)


def test_the_script_links_what_was_kept(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    given = []
    for name in ("one", "two"):
        source = tmp_path / f"{name}.cpp"
        source.write_text(f'extern "C" int {name}() {{ return 1; }}')
        given.append(source.with_suffix(".o"))
        subprocess.run(["g++", "-c", "-fPIC", str(source), "-o", str(given[-1])], check=True)
    folder = tmp_path / "a bundle"
    folder.mkdir()
    files = finish(Linker(()), given, folder / "model.so")
    assert [file.name for file in files] == ["model-0.o", "model-1.o", BUILD]
    subprocess.run(["sh", str(folder / BUILD)], check=True, cwd="/")
    import ctypes

    library = ctypes.CDLL(str(folder / "model.so"))
    assert library.one() + library.two() == 2


def test_a_linker_that_fails_is_told_in_its_words(tmp_path: Path) -> None:
    broken = program(tmp_path / "bin", "broken", "echo 'ld: error: no room' >&2; exit 1") / "broken"
    with pytest.raises(ExportError, match="cannot be linked: ld: error: no room"):
        finish(Linker((str(broken),)), [tmp_path / "x.o"], tmp_path / "model.so")
    with pytest.raises(ExportError, match="cannot be started"):
        finish(Linker((str(tmp_path / "gone"),)), [tmp_path / "x.o"], tmp_path / "model.so")
