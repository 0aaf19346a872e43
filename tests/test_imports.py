"""Imports stay lean, `__all__` stays true, and every source file has its test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from layout import ROOT, imports, module_name, public_names, sources

HEAVY = {"numpy", "onnx", "onnxruntime", "onnxscript", "scipy", "sympy", "torch", "transformers", "tvm"}
SOURCES = [path for path in sources() if path.name != "__init__.py"]


def _modules_after(code: str) -> set[str]:
    """The modules that are loaded when `code` has run in a fresh interpreter; adb would leave its server running."""
    report = "\nimport sys; print('\\n--', *sys.modules, file=sys.__stderr__)"
    command, environment = [sys.executable, "-c", code + report], {**os.environ, "COMPRESS_ADB": "none"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "\n--" in done.stderr, done.stderr
    return set(done.stderr.rpartition("\n--")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["targets"], ["passes", "-h"], ["verify", "-h"], ["bench", "-h"], ["devices"]],
)
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["compress", *{arguments!r}]
from compressor.cli.main import entry
try:
    entry()
except SystemExit as end:
    assert not end.code, end.code
"""
    heavy = HEAVY if arguments != ["targets"] else HEAVY - {"numpy", "onnxruntime"}  # `host` asks the runtime
    assert not _modules_after(code) & heavy


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not _modules_after("import compressor, compressor.errors, compressor.targets") & HEAVY


def test_the_measure_sees_a_heavy_import() -> None:
    assert "numpy" in _modules_after("import numpy")


@pytest.mark.parametrize("path", sources(), ids=str)
def test_all_lists_what_a_module_offers(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    listed, bound, defined = public_names(text)
    if listed is None:
        assert path.name in ("__init__.py", "__main__.py"), "has no __all__"
        assert not defined, f"no __all__ for {sorted(defined)}"
        return
    lazy = bound if "__getattr__" not in defined else {*bound, *listed}
    assert set(listed) <= lazy, f"{sorted(set(listed) - lazy)} in __all__ do not exist"
    assert len(set(listed)) == len(listed)
    assert listed == sorted(listed, key=_isort), "not sorted: constants, classes, functions"


def _isort(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def test_modules_take_from_each_other_only_what_all_lists() -> None:
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in sources()}
    offered = {module_name(path): public_names(text)[0] or [] for path, text in texts.items()}
    faults = []
    for path, text in texts.items():
        for each in imports(text, module_name(path), package=path.name == "__init__.py"):
            module, _, name = each.module.rpartition(".")
            if module in offered and each.module not in offered and name not in offered[module]:
                faults.append(f"{path}:{each.line} takes {name} from {module}")
    assert not faults, "\n".join(faults)


def _test_of(path: Path) -> Path:
    return Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py"


def test_every_source_file_has_a_test_file_of_its_name() -> None:
    missing = [f"{path} → {_test_of(path)}" for path in SOURCES if not (ROOT / _test_of(path)).is_file()]
    assert not missing, f"{len(missing)} of {len(SOURCES)} source files have no test:\n" + "\n".join(missing)


def test_every_test_file_of_a_layer_tests_something() -> None:
    folders = {_test_of(path).parent for path in SOURCES}
    files = [path for folder in folders for path in sorted((ROOT / folder).glob("test_*.py"))]
    empty = [path.relative_to(ROOT) for path in files if "def test_" not in path.read_text(encoding="utf-8")]
    assert not empty
