"""A list of jobs: many models for many targets, each with the options of `compress`.

    [defaults]                              keys are the long options with underscores; `factory` is --model
    data = "data.npz"
    [[job]]
    model = ["a.pt", "b.pt"]                lists of models and of targets: all pairs
    target = ["jetson", "raspberry-pi-5"]
    latency = "0.6x"
    name = "fast"                           of the bundle's folder, else MODEL-TARGET

A job says more than the command line, which says more than `[defaults]`. Paths are as on the command line.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from compressor.errors import InputError, did_you_mean
from compressor.export.bundle import default_name
from compressor.request import Request
from compressor.targets import load_target

__all__ = ["SUMMARY", "Job", "is_list", "jobs_of", "read_list"]

SUMMARY = "jobs.json"  # beside the bundles
_MOST = 100_000
_WHOLE = {"out": "--out", "force": "--force", "dry_run": "--dry-run"}  # are said of all jobs, and not in the list
_FIELDS = {field.name: str(field.type).partition(" ")[0].partition("[")[0] for field in fields(Request)}
_OWN = {"input": "inputs"}  # options whose key is another one's name
_KEYS = sorted({*_FIELDS, *_OWN, "name"} - {*_WHOLE, *_OWN.values()})
_LEAST = {"batch": 1, "threads": 1, "seed": 0}
_KINDS: Mapping[str, tuple[Any, str]] = {
    "str": (str, 'text, as "0.6x"'), "Any": (str, "text"), "bool": (bool, "true or false"), "int": (int, "a number"),
    "float": ((int, float), "a number"), "Path": (str, "a path"),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One model for one target; `name` is the folder of its bundle in that of the list."""

    name: str
    request: Request


def is_list(model: Any) -> bool:
    """Whether what was given for a model is a list of jobs: no model is TOML."""
    return isinstance(model, str | Path) and Path(model).suffix == ".toml"


def read_list(path: Path) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """Defaults and jobs of a file. Raises InputError."""
    where = str(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"is not TOML: {error}", where=where) from error
    for key in document:
        if key not in ("defaults", "job"):
            raise InputError(f"unknown key {key!r}", where=where, way_out="It holds [defaults] and [[job]] tables.")
    defaults, jobs = document.get("defaults", {}), document.get("job", [])
    if not isinstance(defaults, Mapping) or not isinstance(jobs, list):
        raise InputError("it holds one [defaults] table, and [[job]] ones", where=where)
    return defaults, jobs


def jobs_of(
    defaults: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], given: Mapping[str, Any], where: str
) -> list[Job]:
    """All jobs in order; `given` are options of the command line, as `Request` names and types them.

    Raises InputError for unknown keys and values of another kind, and for two jobs with one folder; TargetError.
    """
    usual = {**_options(defaults, f"{where}: [defaults]"), **given}
    found: dict[str, Job] = {}
    for number, table in enumerate(jobs, 1):
        for job in _expanded(table, usual, f"{where}: job {number}"):
            if job.name.casefold() in found:
                raise InputError(
                    f"two bundles would be written to {job.name!r}", where=f"{where}: job {number}",
                    way_out='Give one of the jobs a name = "…" of its own.',
                )  # fmt: skip
            found[job.name.casefold()] = job
            if len(found) > _MOST:
                raise InputError(f"more than {_MOST} jobs", where=where, way_out="Split the list.")
    if not found:
        raise InputError("there are no jobs", where=where, way_out='Write [[job]] with model = "model.pt" under it.')
    return list(found.values())


def _expanded(table: Any, usual: Mapping[str, Any], where: str) -> Iterator[Job]:
    if not isinstance(table, Mapping):
        raise InputError("is not a table", where=where, way_out="Write [[job]] with its options under it.")
    options = {**usual, **_options(table, where)}
    name = options.pop("name", None)
    models, targets = (options.pop(key, None) for key in ("model", "target"))
    for key, values in (("model", models), ("target", targets)):
        if values is None and (key == "model" or options.get("recipe") is None):
            raise InputError(f"has no {key}", where=where, way_out=f"Add {key} = …, here or under [defaults].")
    models, targets = ([each] if isinstance(each, str | None) else each for each in (models, targets))
    alone = len(models) * len(targets) == 1
    for model, target in itertools.product(models, targets):
        request = Request(model, target, **options)
        board = load_target(request.target_name(request.loaded_recipe())).name
        usually = default_name(request.model_name, board)
        yield Job(name if name and alone else default_name(name, usually) if name else usually, request)


def _options(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {_OWN.get(key, key): _value(key, value, where) for key, value in table.items()}


def _value(key: str, value: Any, where: str) -> Any:
    if key in _WHOLE:
        way_out = "Each bundle's folder is its `name`." if key == "out" else "It is said on the command line."
        raise InputError(f"{_WHOLE[key]} is of all jobs together", where=where, way_out=way_out)
    if key not in _KEYS:
        raise InputError(f"unknown key {key!r}", where=where, way_out=did_you_mean(key, _KEYS))
    kind = _FIELDS.get(_OWN.get(key, key), "str")
    if key in ("model", "target") and isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return list(dict.fromkeys(value))
    if kind == "tuple":
        return _texts(key, value, where)
    type_, told = _KINDS[kind]
    if not isinstance(value, type_) or (isinstance(value, bool) and kind != "bool"):
        raise InputError(f"{key} is {value!r:.60}, and has to be {told}", where=where)
    if key == "name" and (not re.fullmatch(r"\w[\w.+-]{0,199}", value) or value.casefold() == SUMMARY):
        raise InputError(f"{value!r} cannot name a folder", where=where, way_out="Letters, digits, '-', '_', '+', '.'.")
    if key in _LEAST and value < _LEAST[key]:
        raise InputError(f"{key} is {value}, and at least {_LEAST[key]}", where=where)
    return Path(value) if kind == "Path" else value


def _texts(key: str, value: Any, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{key} is {value!r:.60}, and has to be text, or a list of texts", where=where)
    return tuple(texts)
