from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import platformdirs  # noqa: F401  imported late by what is tested, which `site` would hide it from
import pytest
from compiled import needs_tvm

from compressor.doctor import Finding, diagnose
from compressor.errors import TargetError


def _about(subject: str, target: str | None = None) -> Finding:
    return next(finding for finding in diagnose(target) if finding.subject == subject)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, the only one: none of this environment's are seen."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def _install(site: Path, name: str, version: str, *lines: str, owns: str = "") -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    head = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
    (folder / "METADATA").write_text("\n".join((*head, *lines)) + "\n", encoding="utf-8")
    (folder / "RECORD").write_text(f"{owns}/__init__.py,,\n" if owns else "", encoding="utf-8")


def _program(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "compress"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    return file


def test_this_environment_has_all_it_requires() -> None:
    findings = diagnose()
    assert not [finding for finding in findings if finding.status == "missing"]
    declared = {text.split(">=")[0] for text in metadata.requires("edge-compressor") or () if "extra" not in text}
    assert declared <= {finding.subject for finding in findings}
    assert all(finding.way_out for finding in findings if finding.status != "ok")


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; from compressor.doctor import diagnose; diagnose('jetson'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "onnx", "transformers"}.isdisjoint(done.stdout.split())


def test_what_is_not_installed_or_too_old_is_missing(site: Path) -> None:
    _install(site, "edge-compressor", "0.1.0", "Requires-Python: >=3.11", "Requires-Dist: torch>=2.13",
             "Requires-Dist: numpy>=1.26", "Requires-Dist: onnx>=1.18")  # fmt: skip
    _install(site, "torch", "2.9.1+cu128")
    _install(site, "numpy", "1.26")
    assert _about("torch") == Finding("torch", "missing", "2.9.1+cu128 is older than 2.13", 'pip install "torch>=2.13"')
    assert _about("numpy").status == "ok"
    assert _about("onnx") == Finding("onnx", "missing", "not installed", 'pip install "onnx>=1.18"')


def test_versions_compare_by_number_not_by_letter(site: Path) -> None:
    _install(site, "edge-compressor", "0.1.0", "Requires-Dist: onnx>=1.9", "Requires-Dist: numpy>=2.0.0")
    _install(site, "onnx", "1.18.0rc1")
    _install(site, "numpy", "2")
    assert _about("onnx").status == _about("numpy").status == "ok"


def test_a_checkout_that_pip_did_not_install_says_so(site: Path) -> None:
    assert _about("edge-compressor").status == "missing"
    assert "pip install" in _about("edge-compressor").way_out


def test_an_old_python_is_missing(site: Path) -> None:
    _install(site, "edge-compressor", "9.0", "Requires-Python: >=4.2")
    assert _about("Python").status == "missing"
    assert "4.2" in _about("Python").way_out


@pytest.mark.parametrize(
    ("version", "text", "build"),
    [
        ("2.13.0+cpu", "cuda: Optional[str] = None\n", "CPU"),
        ("2.13.0", "cuda: Optional[str] = '12.6'\n", "CUDA 12.6"),
        ("2.13.0", "cuda = None\n", "CPU"),
        ("2.13.0+rocm6.4", "cuda = None\n", "rocm6.4"),
        ("2.13.0", None, "unknown"),
    ],
)
def test_torchs_build_is_read_without_importing_it(site: Path, version: str, text: str | None, build: str) -> None:
    _install(site, "torch", version)
    if text is not None:
        (site / "torch").mkdir()
        (site / "torch" / "version.py").write_text(text, encoding="utf-8")
    assert _about("torch build") == Finding("torch build", "ok", build)


def test_an_extra_that_is_not_there_is_a_warning_that_names_what_it_costs(site: Path) -> None:
    required = ("Requires-Dist: transformers>=4.55; extra == 'hf'", 'Requires-Dist: safetensors>=0.5; extra == "hf"')
    _install(site, "edge-compressor", "0.1.0", "Provides-Extra: hf", *required)
    _install(site, "safetensors", "0.6")
    found = _about("extra [hf]")
    assert (found.status, found.way_out) == ("warning", 'pip install "edge-compressor[hf]"')
    assert "Hugging Face" in found.detail
    assert "transformers not installed" in found.detail
    assert "safetensors" not in found.detail


def test_another_distribution_with_the_same_import_package_is_found(site: Path) -> None:
    _install(site, "edge-compressor", "0.1.0", owns="compressor")
    assert _about("import package").status == "ok"
    _install(site, "django-compressor", "4.5", owns="compressor")
    found = _about("import package")
    assert found.status == "missing"
    assert "django-compressor" in found.detail
    assert "pip uninstall django-compressor" in found.way_out


def test_two_builds_of_the_runtime_in_one_folder_are_found(site: Path) -> None:
    _install(site, "onnxruntime", "1.31.1", owns="onnxruntime")
    assert "onnxruntime" not in {finding.subject for finding in diagnose()}
    _install(site, "onnxruntime-gpu", "1.31.1", owns="onnxruntime")
    assert "onnxruntime and onnxruntime-gpu" in _about("onnxruntime").detail


@pytest.mark.skipif(os.name == "nt", reason="writes shell scripts")
class TestProgram:
    @pytest.fixture
    def scripts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """This environment's folder of programs, with ours in it."""
        scripts = tmp_path / "scripts"
        _program(scripts, "#!/bin/sh\n# compressor.cli.main\n")
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts))
        return scripts

    def test_ours_first_is_right(self, scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(scripts))
        assert _about("compress program") == Finding("compress program", "ok", str(scripts / "compress"))

    def test_a_link_to_ours_is_ours(self, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "compress").symlink_to(scripts / "compress")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        assert _about("compress program").status == "ok"

    @pytest.mark.parametrize(
        ("text", "kind"),
        [("#!/bin/sh\nexec gzip\n", "another program"), ("#!python\nimport compressor.cli.main\n", "environment")],
    )
    def test_another_first_is_named(
        self, text: str, kind: str, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = _program(tmp_path / "bin", text)
        monkeypatch.setenv("PATH", os.pathsep.join((str(other.parent), str(scripts))))
        found = _about("compress program")
        assert found.status == "warning"
        assert str(other) in found.detail
        assert kind in found.detail
        assert "python -m compressor" in found.way_out

    def test_none_on_the_path(self, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "not on the PATH" in _about("compress program").detail
        assert str(scripts) in _about("compress program").way_out


def test_a_cache_folder_that_cannot_be_written_to_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "new" / "deep"))
    assert _about("cache folder").status == "ok"
    assert not (tmp_path / "new").exists()  # looking makes nothing
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("COMPRESS_CACHE", str(file))
    found = _about("cache folder")
    assert found.status == "warning"
    assert "--cache-dir" in found.way_out


def test_a_nearly_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    assert _about("cache folder").status == "warning"
    assert "0.0 GB free" in _about("cache folder").detail


def test_every_board_says_what_it_needs_and_how_to_get_it() -> None:
    boards = {f.subject: f for f in diagnose() if f.subject.startswith("target ")}
    assert len(boards) >= 9
    assert "pip install onnxruntime==" in boards["target raspberry-pi-5"].way_out
    assert "opset 21" in boards["target jetson-xavier-nx"].detail


def test_a_target_tells_what_this_machine_can_verify_and_what_it_cannot() -> None:
    details = " ".join(finding.detail for finding in diagnose("jetson") if finding.subject.startswith("verifying"))
    assert "checked here" in details
    assert "TensorrtExecutionProvider, CUDAExecutionProvider" in details
    assert "not measured" in details
    assert "not measured" not in " ".join(finding.detail for finding in diagnose("host"))


def test_what_links_tvms_objects_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tvm()
    from compressor.export import tvm_linking

    monkeypatch.setattr(tvm_linking, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name, **_: "/tools/g++" if name == "g++" else None)
    [own] = [found for found in diagnose("host") if found.subject == "TVM linker"]
    assert (own.status, own.detail) == ("ok", "/tools/g++")
    [none] = [found for found in diagnose("raspberry-pi-5") if found.subject == "TVM linker"]
    assert none.status == "warning"
    assert "objects and a script for the board" in none.detail
    assert "apt install g++-aarch64-linux-gnu" in none.way_out
    monkeypatch.setattr(shutil, "which", lambda name, **_: None)
    [missing] = [found for found in diagnose("host") if found.subject == "TVM linker"]
    assert missing.way_out == "apt install g++, or clang."


def test_a_runtime_that_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = _about("verifying raspberry-pi-5", "raspberry-pi-5")
    assert found.status == "missing"
    assert "pip install onnxruntime" in found.way_out


def test_an_unknown_target_is_the_users_error() -> None:
    with pytest.raises(TargetError, match="jetsno"):
        diagnose("jetsno")


def test_what_profiling_needs_is_looked_for(site: Path) -> None:
    _install(site, "edge-compressor", "0.1.0", "Requires-Dist: scikit-learn>=1.5; extra == 'profile'")
    found = _about("extra [profile]")
    assert (found.status, found.way_out) == ("warning", 'pip install "edge-compressor[profile]"')
    assert "compress profile" in found.detail
