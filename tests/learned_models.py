"""A latency model that knows one law: so many microseconds a call that does work."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.fit import fit
from compressor.devices.latency.learned import Learned
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.profile import Profile, write_profile
from compressor.devices.latency.subject import Subject

__all__ = ["learned", "measured", "profile_folder"]


def measured(subject: Subject, each: float = 10.0, threads: int = 1) -> Measured:
    """As if every kernel's main call took `each` microseconds."""
    nodes = tuple(NodeTime(f"{call.name}/node", "Node", call.name, each) for call in subject.calls if call.main)
    return Measured(subject.name, subject.style, threads, subject.calls, nodes, each * len(nodes))


def learned(subject: Subject, each: float = 10.0) -> Learned:
    """Fitted to one network alone."""
    return fit([measured(subject, each)])


def profile_folder(folder: Path, subject: Subject, cpu: str, each: float = 10.0) -> Path:
    """A whole profile of two numbers of threads on disk."""
    one = measured(subject, each)
    two = dataclasses.replace(one, threads=2, microseconds=one.microseconds / 2)
    about = {"target": "host", "cpu": cpu, "onnxruntime": "1.31", "kernels": 5}
    models = {1: learned(subject, each).to_json(), 2: learned(subject, each / 2).to_json()}
    write_profile(folder, Profile(about, (one, two)), models)
    return folder
