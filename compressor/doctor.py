"""What is installed, what is missing, and how to get it. Nothing heavy is imported: a broken torch can be reported.

The requirements are read from the installed distribution's own metadata, so there is no second list of them.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from compressor.errors import ExportError, TargetError
from compressor.targets import HOST, Target, load_target, target_names
from compressor.targets.target import Compiler

__all__ = ["Finding", "Status", "diagnose"]

Status = Literal["ok", "warning", "missing"]

_DISTRIBUTION = "edge-compressor"
_LITTLE_SPACE = 1 << 30
_REQUIREMENT = re.compile(
    r"""([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*(?:>=\s*([\d.]+))?[^;]*(?:;.*extra == ['"]([\w-]+)['"])?"""
)
_EXTRAS = {
    "hf": "Hugging Face model folders cannot be loaded",
    "safetensors": "safetensors files cannot be loaded",
    "profile": "`compress profile` cannot fit to what it measures",
    "tvm": "--runtime tvm, --kernels custom-op and boards at rpc:// are out of reach",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing` keeps something from working; a `warning` limits it; `way_out` is "" when ok."""

    subject: str
    status: Status
    detail: str
    way_out: str = ""


@dataclass(frozen=True)
class _Requirement:
    name: str
    least: str  # the oldest version that will do, or ""
    extra: str  # the extra it belongs to, or ""


def diagnose(target: str | None = None) -> list[Finding]:
    """Look at this installation; with a target, also at what it needs and what this machine can verify of it.

    Raises TargetError for an unknown target.
    """
    board = load_target(target) if target is not None else None
    owners = metadata.packages_distributions()
    findings = [_python(), *_dependencies(), _torch(), *_runtimes(owners), *_extras(), *_browser()]
    findings += [_package(owners), _program(), _cache()]
    if board is None:
        return findings + [_needs(load_target(name)) for name in target_names() if name != HOST]
    return [*findings, _needs(board), *_linking(board), *_verifiable(board)]


def _python() -> Finding:
    found, least = platform.python_version(), "3.11"
    with contextlib.suppress(metadata.PackageNotFoundError):  # _dependencies says so
        least = (metadata.metadata(_DISTRIBUTION)["Requires-Python"] or f">={least}").removeprefix(">=")
    if _older(found, least):
        way_out = f"Make an environment with Python {least} or newer."
        return Finding("Python", "missing", f"{found} is older than {least}", way_out)
    return Finding("Python", "ok", f"{found} at {sys.prefix}")


def _dependencies() -> Iterator[Finding]:
    try:
        required = [each for each in _requirements() if not each.extra]
    except metadata.PackageNotFoundError:
        way_out = "pip install edge-compressor, or pip install -e . in a checkout."
        yield Finding(_DISTRIBUTION, "missing", "runs from files that pip did not install", way_out)
        return
    yield Finding(_DISTRIBUTION, "ok", metadata.version(_DISTRIBUTION))
    for each in required:
        yield _installed(each)


def _installed(requirement: _Requirement) -> Finding:
    name, least = requirement.name, requirement.least
    way_out = f'pip install "{name}>={least}"' if least else f"pip install {name}"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", way_out)
    if least and _older(found, least):
        return Finding(name, "missing", f"{found} is older than {least}", way_out)
    return Finding(name, "ok", found)


def _torch() -> Finding:
    """Which torch: its processor is only the workshop here, so either build will do; CUDA's is a gigabyte larger."""
    try:
        distribution = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return Finding("torch build", "missing", "torch is not installed", "pip install torch")
    local = distribution.version.partition("+")[2]
    try:
        text = Path(str(distribution.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except OSError:
        text = ""
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    build = f"CUDA {cuda[1]}" if cuda else local or ("CPU" if text else "unknown")
    return Finding("torch build", "ok", "CPU" if build == "cpu" else build)


def _runtimes(owners: Mapping[str, list[str]]) -> Iterator[Finding]:
    """onnxruntime, onnxruntime-gpu and their kin unpack into one folder; the last one installed wins, file by file."""
    builds = sorted({*owners.get("onnxruntime", ())})
    if len(builds) > 1:
        way_out = f"Uninstall {', '.join(builds)}, then install the one you want."
        yield Finding("onnxruntime", "warning", f"{' and '.join(builds)} are both installed: their files mix", way_out)


def _extras() -> Iterator[Finding]:
    try:
        requirements = _requirements()
    except metadata.PackageNotFoundError:
        return
    for extra, loss in _EXTRAS.items():
        faults = [f for f in map(_installed, [r for r in requirements if r.extra == extra]) if f.status != "ok"]
        if faults:
            detail = f"{loss}: {', '.join(f'{fault.subject} {fault.detail}' for fault in faults)}"
            yield Finding(f"extra [{extra}]", "warning", detail, f'pip install "{_DISTRIBUTION}[{extra}]"')
        else:
            yield Finding(f"extra [{extra}]", "ok", "installed")


def _browser() -> Iterator[Finding]:
    """Only this project's own tests open a browser, so it is looked for where pytest is."""
    try:
        metadata.version("pytest")
    except metadata.PackageNotFoundError:
        return
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        yield Finding("chromium", "ok", found)
    else:
        yield Finding("chromium", "warning", "not found: the report's browser tests skip", "apt install chromium")


def _package(owners: Mapping[str, list[str]]) -> Finding:
    """Another distribution, django-compressor for one, may own files of the import package `compressor` too."""
    others = {*owners.get("compressor", ())} - {_DISTRIBUTION}
    if others:
        names = " and ".join(sorted(others))
        return Finding(
            "import package", "missing", f"{names} installs a package called compressor, too: their files mix",
            f"Use an environment of its own, or: pip uninstall {names}; pip install --force-reinstall {_DISTRIBUTION}",
        )  # fmt: skip
    return Finding("import package", "ok", str(Path(__file__).parent))


def _program() -> Finding:
    """Debian and macOS have had a `compress` since long before this one."""
    first, scripts = shutil.which("compress"), sysconfig.get_path("scripts")
    own = shutil.which("compress", path=scripts)
    if first is None:
        way_out = f"Put {scripts} on the PATH, or run python -m compressor."
        return Finding("compress program", "warning", "not on the PATH", way_out)
    if own is not None and os.path.samefile(first, own):
        return Finding("compress program", "ok", first)
    kind = "belongs to another environment" if _is_ours(first) else "is another program"
    way_out = f"Run python -m compressor, or put {scripts} first on the PATH."
    return Finding("compress program", "warning", f"{first} comes first on the PATH and {kind}", way_out)


def _is_ours(program: str) -> bool:
    try:
        with open(program, "rb") as file:
            return b"compressor.cli.main" in file.read(4096)
    except OSError:
        return False


def _cache() -> Finding:
    from compressor.cache import default_folder

    folder = default_folder()
    there = next((parent for parent in (folder, *folder.parents) if parent.exists()), Path(folder.anchor or "."))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        way_out = "Set COMPRESS_CACHE or --cache-dir to a folder that can be written to, or use --no-cache."
        return Finding("cache folder", "warning", f"{there} cannot be written to: finished stages are lost", way_out)
    free = shutil.disk_usage(there).free
    detail = f"{folder}, {free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        way_out = "Make room there (`compress cache clear`) or set COMPRESS_CACHE."
        return Finding("cache folder", "warning", detail, way_out)
    return Finding("cache folder", "ok", detail)


def _needs(target: Target) -> Finding:
    runtime = target.runtime
    if target.is_host:
        return Finding("target host", "ok", f"{runtime.name} {runtime.version}, ONNX opset {runtime.opset}")
    detail = f"needs {runtime.name} {runtime.version} on the board: ONNX opset {runtime.opset}; not looked at from here"
    return Finding(f"target {target.name}", "ok", detail, runtime.install)


def _linking(target: Target) -> Iterator[Finding]:
    """What joins TVM's objects into the board's library, here or there; asked where TVM is."""
    if find_spec("tvm") is None or (target.compiler is None and not target.is_host):
        return
    from compressor.export.tvm_linking import cross_compilers, find_linker

    compiler = target.compiler or Compiler("", "", (), "")
    try:
        command = find_linker(compiler).command
    except ExportError as error:
        yield Finding("TVM linker", "warning", error.what, error.way_out)
        return
    if command:
        yield Finding("TVM linker", "ok", command[0])
        return
    detail = f"nothing here links for {compiler.triple}: --runtime tvm leaves objects and a script for the board"
    yield Finding("TVM linker", "warning", detail, cross_compilers(compiler.triple))


def _verifiable(target: Target) -> Iterator[Finding]:
    """What this machine's runtime can check of a target's artifact, and what only the board can."""
    subject = f"verifying {target.name}"
    try:
        host = load_target("host")
    except TargetError as error:
        yield Finding(subject, "missing", error.what, error.way_out)
        return
    here = {provider.name for provider in (*host.providers, *host.optional_providers)}
    yield Finding(subject, "ok", f"numbers are checked here with {host.runtime.name} {host.runtime.version} on its CPU")
    if host.runtime.opset < target.runtime.opset:
        detail = f"the runtime here knows ONNX opset {host.runtime.opset}, the board's {target.runtime.opset}"
        yield Finding(subject, "warning", detail, f"pip install --upgrade {host.runtime.name}")
    if away := [provider.name for provider in target.providers if provider.name not in here]:
        detail = f"not checked here: {', '.join(away)}"
        yield Finding(subject, "warning", detail, "Run the bundle's golden vectors (golden.npz) on the board.")
    if not target.is_host:
        way_out = "Measure on the board; predictions are uncalibrated."
        yield Finding(subject, "warning", "latency is predicted from the board's figures, not measured", way_out)


def _requirements() -> list[_Requirement]:
    """What the installed distribution declares. Raises PackageNotFoundError where there is none."""
    matches = (_REQUIREMENT.match(text) for text in metadata.distribution(_DISTRIBUTION).requires or ())
    return [_Requirement(m[1], m[2] or "", m[3] or "") for m in matches if m]


def _older(found: str, least: str) -> bool:
    """Whether a version's release numbers come before another's; suffixes (rc1, +cpu) do not count."""

    def release(text: str) -> list[int]:
        numbers = re.match(r"\d+(?:\.\d+)*", text)
        return [int(part) for part in numbers[0].split(".")] if numbers else []

    a, b = release(found), release(least)
    width = max(len(a), len(b))
    return a + [0] * (width - len(a)) < b + [0] * (width - len(b))
