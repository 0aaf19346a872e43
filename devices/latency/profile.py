"""A profile on disk: what was measured on a device, as tables that any tool reads, and the model fitted to it.

    profile.toml    version, device, runtime, settings, date
    networks.csv    network, style, threads, microseconds
    calls.csv       network and each of its calls
    nodes.csv       network, threads, the runtime's node, its type, the call that it does, microseconds
    model.json      fitted from the tables, one entry a number of threads; it can be made anew from them at any time,
                    of either kind (`kinds.py`)

Shapes are written 1x3x224x224, a scalar's as "."; operands shape:bytes:source, an empty source for a stored weight.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.laws.numbers import USUAL, Core
from compressor.devices.latency.measured import Measured
from compressor.errors import DeviceError
from compressor.graph.calls import Call, Operand

__all__ = ["VERSION", "Profile", "core_of", "read_about", "read_profile", "write_models", "write_profile"]

VERSION = 1
_CALL = ("network", "name", "op", "kind", "format", "shapes", "bytes", "operands", "arguments", "macs", "kernel",
         "anchor", "main", "fellows", "readers", "keywords")  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """`about` is what profile.toml says: texts and numbers. `kernels` of `networks` were timed."""

    about: Mapping[str, Any]
    networks: tuple[Measured, ...] = field(repr=False)


def write_profile(folder: Path, profile: Profile, models: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the whole folder; `models` are fitted ones by threads, as JSON. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = profile.networks
    _write(folder / "networks.csv", ("network", "style", "threads", "microseconds"), (
        (m.name, m.style, m.threads, f"{m.microseconds:.6g}") for m in measured
    ))  # fmt: skip
    calls = {m.name: m.calls for m in measured}
    _write(folder / "calls.csv", _CALL, ((name, *_row(call)) for name, each in calls.items() for call in each))
    _write(folder / "nodes.csv", ("network", "threads", "node", "type", "call", "microseconds"), (
        (m.name, m.threads, n.name, n.type, n.call, f"{n.microseconds:.6g}") for m in measured for n in m.nodes
    ))  # fmt: skip
    write_models(folder, models)
    about = {"version": VERSION, **profile.about}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in about.items()]
    (folder / "profile.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_models(folder: Path, models: Mapping[int, Mapping[str, Any]]) -> None:
    """Put other fitted models in place of a profile's, whole or not at all. Raises OSError."""
    new = folder / "model.json.new"
    new.write_text(json.dumps({str(threads): model for threads, model in models.items()}), encoding="utf-8")
    new.replace(folder / "model.json")


def read_about(folder: Path) -> dict[str, Any]:
    """profile.toml. Raises DeviceError where it is none, or of another version."""
    try:
        about = tomllib.loads((folder / "profile.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DeviceError(f"not a profile: {error}", where=str(folder)) from error
    if about.get("version") != VERSION:
        raise DeviceError(
            f"a profile of version {about.get('version')}; this program reads {VERSION}", where=str(folder),
            way_out="Measure it anew with `compress profile`.",
        )  # fmt: skip
    return about


def read_profile(folder: Path) -> Profile:
    """The tables. Raises DeviceError where they cannot be read, naming the file."""
    about, name = read_about(folder), ""
    try:
        name = "calls.csv"
        calls: dict[str, list[Call]] = {}
        for row in _read(folder / name):
            calls.setdefault(row["network"], []).append(_call(row))
        name = "nodes.csv"
        nodes: dict[tuple[str, int], list[NodeTime]] = {}
        for row in _read(folder / name):
            time = NodeTime(row["node"], row["type"], row["call"], float(row["microseconds"]))
            nodes.setdefault((row["network"], int(row["threads"])), []).append(time)
        name = "networks.csv"
        networks = tuple(
            Measured(
                row["network"], row["style"], int(row["threads"]), tuple(calls[row["network"]]),
                tuple(nodes.get((row["network"], int(row["threads"])), ())), float(row["microseconds"]),
            )
            for row in _read(folder / name)
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"cannot be read: {error!r}", where=str(folder / name)) from error
    return Profile(about, networks)


def core_of(about: Mapping[str, Any]) -> Core:
    """The processor's caches, as the device told of them; usual ones where it did not. A second one that is the last
    stands for a third."""
    told = about.get("caches") or ()
    sizes = [float(size) for size in told if isinstance(size, int) and size > 0]
    return Core(caches=(sizes[0], sizes[1], sizes[-1])) if len(sizes) in (2, 3) else USUAL


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _row(call: Call) -> tuple[Any, ...]:
    shapes = " ".join(_text(shape) for shape in call.shapes)
    operands = " ".join(f"{_text(o.shape)}:{o.bytes}:{o.source}" for o in call.operands)
    return (
        call.name, call.op, call.kind, call.format, shapes, call.bytes, operands, json.dumps(call.arguments),
        call.macs, call.kernel, call.anchor, int(call.main), " ".join(call.fellows), " ".join(call.readers),
        json.dumps(call.keywords),
    )  # fmt: skip


def _call(row: Mapping[str, str]) -> Call:
    operands = (operand.split(":") for operand in row["operands"].split())
    return Call(
        name=row["name"], op=row["op"], kind=row["kind"], format=row["format"],
        shapes=tuple(_shape(shape) for shape in row["shapes"].split()), bytes=int(row["bytes"]),
        operands=tuple(Operand(_shape(shape), int(size), source) for shape, size, source in operands),
        arguments=_frozen(json.loads(row["arguments"])), macs=int(row["macs"]), kernel=row["kernel"],
        anchor=row["anchor"], main=row["main"] == "1", fellows=tuple(row["fellows"].split()),
        readers=tuple(row["readers"].split()), keywords=_frozen(json.loads(row["keywords"])),
    )  # fmt: skip


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "."


def _shape(text: str) -> tuple[int, ...]:
    return () if text == "." else tuple(int(size) for size in text.split("x"))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
