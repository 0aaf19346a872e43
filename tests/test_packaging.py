"""What is shipped is what is in the tree: packages, links and the built wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from layout import DRIVER, LAYERS, ROOT

LINKED = LAYERS[:-1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_SHIPPED = {"__pycache__"}


def _tree(root: Path) -> set[str]:
    """Every file below compressor/, links followed, as a wheel would name it."""
    found = set()
    for folder, folders, files in os.walk(root / DRIVER, followlinks=True):
        folders[:] = [name for name in folders if name not in NOT_SHIPPED]
        found |= {(Path(folder) / name).relative_to(root).as_posix() for name in files}
    return found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return done.stdout


def test_every_package_of_the_tree_is_declared_and_no_other() -> None:
    tree = {Path(name).parent.as_posix().replace("/", ".") for name in _tree(ROOT) if name.endswith("/__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == tree


def test_every_folder_with_source_is_a_package() -> None:
    tree = _tree(ROOT)
    folders = {Path(name).parent.as_posix() for name in tree if name.endswith(".py")}
    assert {folder for folder in folders if f"{folder}/__init__.py" not in tree} == set()


def test_declared_packages_are_found_where_they_are() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    assert set(setuptools["package-dir"]) == set(setuptools["packages"])
    for package, folder in setuptools["package-dir"].items():
        assert (ROOT / folder).resolve() == (ROOT / package.replace(".", "/")).resolve(), package
        assert not Path(folder).is_absolute()


@pytest.mark.parametrize("name", LINKED)
def test_a_root_folder_is_linked_into_the_package_by_a_committed_relative_link(name: str) -> None:
    mode, *_ = _git("ls-files", "--stage", f"{DRIVER}/{name}").split()
    assert mode == "120000"
    assert _git("cat-file", "blob", f":{DRIVER}/{name}") == f"../{name}"
    assert (ROOT / DRIVER / name).resolve() == ROOT / name


def test_the_linter_bans_the_folders_as_top_level_packages() -> None:
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert set(lint["flake8-tidy-imports"]["banned-api"]) == set(LINKED)


def test_the_program_is_an_entry_point_that_exists() -> None:
    [entry] = [e for e in metadata.distribution("edge-compressor").entry_points if e.group == "console_scripts"]
    assert (entry.name, entry.value) == ("compress", PROJECT["project"]["scripts"]["compress"])
    assert callable(entry.load())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built without a network from a copy, so that no build folder is left here."""
    _needs_setuptools()
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", DRIVER, *LINKED):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        else:
            shutil.copy(source, copy / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def _needs_setuptools() -> None:
    required = PROJECT["build-system"]["requires"][0].partition(">=")[2]
    try:
        found = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        found = "0"
    if int(found.split(".")[0]) < int(required.split(".")[0]):
        pytest.skip(f"building the wheel needs setuptools {required}; here is {found}")


def test_the_wheel_has_exactly_the_files_of_the_tree(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == _tree(ROOT)


def test_the_wheel_carries_types_boards_license_and_the_program(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "compressor/py.typed" in names
    assert "compressor/targets/raspberry-pi-5.toml" in names
    assert any(name.endswith("/LICENSE") for name in names)
    scripts = next(name for name in names if name.endswith("entry_points.txt"))
    assert PROJECT["project"]["scripts"]["compress"] in wheel.read(scripts).decode()
