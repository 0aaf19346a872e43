"""Objects become a library by what is here, or by a script on the board."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from own_device import program

from compressor.errors import ExportError
from compressor.export import tvm_linking
from compressor.export.tvm_linking import BUILD, Linker, cross_compilers, find_linker, finish
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
    assert cross_compilers(PI.triple) == "apt install g++-aarch64-linux-gnu, or pip install ziglang"
    with pytest.raises(ExportError, match=r"no C\+\+ compiler(.|\n)*apt install g\+\+"):
        find_linker(OWN)


def test_webassembly_is_linked_elsewhere() -> None:
    linker = find_linker(Compiler("wasm32-unknown-unknown-wasm", "generic", ("fp32",), "test"))
    assert linker.command == ()
    assert "emcc" in linker.script
    assert cross_compilers("wasm32-unknown-unknown-wasm") == "emscripten, with TVM's source"


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


@pytest.fixture(params=["aarch64-linux-gnu-g++", "ziglang"])
def android(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Linker:
    found = shutil.which
    if request.param == "ziglang":
        if find_spec("ziglang") is None:
            pytest.skip("needs ziglang")
        monkeypatch.setattr(shutil, "which", lambda name: None if name.endswith("g++") else found(name))
    elif found(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return find_linker(replace(PI, triple="aarch64-linux-android", glibc=""))


def test_android_s_library_names_bionic_s_and_nothing_else(android: Linker, tmp_path: Path) -> None:
    import tvm
    from tvm import tirx
    from tvm.script import tirx as T  # noqa: N812

    @T.prim_func(private=False)
    def exponential(x: T.handle, y: T.handle) -> None:
        T.func_attr({"global_symbol": "exponential"})
        a, b = T.match_buffer(x, (4,)), T.match_buffer(y, (4,))
        for i in range(4):
            b[i] = T.exp(a[i])

    target = {"kind": "llvm", "mtriple": "aarch64-linux-android", "mcpu": "cortex-a55"}
    made = tirx.build(tvm.IRModule({"exponential": exponential}), target=tvm.target.Target(target))
    made.write_to_file(str(tmp_path / "one.o"))
    [library] = finish(android, [tmp_path / "one.o"], tmp_path / "model.so")
    code = library.read_bytes()
    assert code[18] == 0xB7
    assert all(name in code for name in (b"libc.so\0", b"libm.so\0", b"expf\0"))
    assert not any(name in code for name in (b"libc.so.6", b"libm.so.6", b"GLIBC", b"libstdc++", b"libgcc"))
    alignments = [
        int.from_bytes(code[at + 48 : at + 56], "little")
        for at in (int.from_bytes(code[32:40], "little") + 56 * index for index in range(code[56]))
        if code[at] == 1  # PT_LOAD
    ]
    assert alignments
    assert all(alignment % 16384 == 0 for alignment in alignments)
