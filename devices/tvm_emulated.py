"""A library that TVM has compiled for another processor, run on an emulated core that has its instructions.

For correctness alone: each run starts a program, and its time means nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compressor.devices.emulation.outputs import outputs_of
from compressor.devices.emulation.root import Root, find_root
from compressor.devices.emulation.tvm import TVM_SITE, tvm_wheels
from compressor.devices.opening import open_device
from compressor.devices.runners import RUNNER
from compressor.errors import DeviceError
from compressor.export.session import Runner

__all__ = ["SET_UP", "emulated_runner", "lacking"]

SET_UP = "compress devices setup qemu"
_SCRIPT = RUNNER / "compiled.py"
_TIMEOUT = 1800.0
_GLIBC = {"libc.so": "libc.so.6", "libm.so": "libm.so.6"}


def lacking(cpu: str) -> str:
    """Why nothing runs on this emulated core, in a few words; "" where it does."""
    try:
        root = find_root()
        if root is None:
            return "emulation is not set up"
        root.qemu  # noqa: B018  it may be gone
    except DeviceError as error:
        return f"emulation is broken ({error.what})"
    if cpu not in root.cpus:
        return f"no core is emulated as {cpu}"
    wanted = tvm_wheels()
    if not wanted or any(root.wheels.get(name) != version for name, version in wanted.items()):
        return "the emulated root lacks TVM's runtime of this version"
    return ""


def emulated_runner(path: Path, inputs: Sequence[str], outputs: Sequence[str], cpu: str) -> Runner:
    """The library as a function from a batch to its outputs; the names are in the order of the network's own.

    Raises DeviceError where emulation is not set up; the function, ExportError where the network does not run there.
    """
    root = find_root()
    if root is None:
        raise DeviceError("is not set up", where=f"qemu://{cpu}", way_out=f"Run `{SET_UP}`.")
    site = root.path / TVM_SITE
    manifest = {key: [{"name": name} for name in names] for key, names in (("inputs", inputs), ("outputs", outputs))}

    def run(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as made, open_device(f"qemu://{cpu}") as device, device.folder() as there:
            bundle = Path(made)
            (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            arrays: dict[str, Any] = {name: batch[name].detach().cpu().numpy() for name in inputs}
            np.savez(bundle / "golden.npz", **arrays)
            shutil.copyfile(path, bundle / "model.so")
            device.push(bundle, f"{there}/bundle")
            device.push(_SCRIPT, f"{there}/{_SCRIPT.name}")
            program = [*device.python, f"{there}/{_SCRIPT.name}", f"{there}/bundle", "--save", f"{there}/out.npz"]
            _in_bionics_place(root, Path(there))
            environment = {
                "PYTHONPATH": f"{site}:{root.path / 'site'}", "TVM_NUM_THREADS": "1", "LD_LIBRARY_PATH": there
            }  # fmt: skip
            done = device.run(program, timeout=_TIMEOUT, environment=environment)
            return outputs_of(device, done, f"{there}/out.npz", bundle, cpu=cpu, name=path.name)

    return run


def _in_bionics_place(root: Root, folder: Path) -> None:
    """Links by which a library for Android finds glibc's C library, the very file that is loaded already."""
    for name, file in _GLIBC.items():
        for place in ("lib", "usr/lib"):
            found = root.path / "base" / place / "aarch64-linux-gnu" / file
            if found.exists():
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(found)
