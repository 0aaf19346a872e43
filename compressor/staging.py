"""The least bundle of a candidate that a board can check and time: artifact, golden vectors, and what they are.

It goes with the run; what the user gets is written by `assemble.py`, once, at the end.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.decoding import places_of
from compressor.export.bundle import golden, write_bundle
from compressor.generation import TOKENS, interface_of
from compressor.graph.concrete import READING
from compressor.graph.naming import SEQUENCE

if TYPE_CHECKING:
    from compressor.judging import Artifact
    from compressor.prepare import Prepared

__all__ = ["staged"]


def staged(artifact: Artifact, prepared: Prepared, out: Path) -> Path:
    """Write it to the folder `out`, which is not there yet. Raises OutputError where the disk is full."""
    program, decoder = artifact.program, {}
    if prepared.is_decoder:
        places = places_of(prepared.program, prepared.evaluation[0], READING[SEQUENCE] + TOKENS)
        decoder = {"decoder": {**asdict(interface_of(prepared.program)), "places": places}}
    manifest = {
        "model": prepared.name,
        "target": prepared.target.name,
        "inputs": [spec.to_json() for spec in program.inputs],
        "outputs": [spec.to_json() for spec in program.outputs],
        "tolerance": artifact.agreement.tolerance,
        **decoder,
    }
    files = {file.name: file for file in artifact.files}
    vectors = {"golden.npz": golden(program, prepared.program, prepared.shown_batch(2))}
    return write_bundle(out, force=False, files={**files, **vectors}, manifest=manifest)
