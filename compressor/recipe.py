"""Recipes: what was done, site by site, as readable TOML that runs again without planning or calibrating.

version = 1
target = "jetson-orin-nano"
seed = 0
keep = ["head.*"]                  # what every pass left alone
teacher = "…"                      # the digest of another network that it learned from
split = "training"                 # some pass wanted training data, whether or not it is among these

[[pass]]
name = "quantize"
[pass.options]
format = "int8"
[pass.reasons]                     # a planner's, for the reader
conv1 = "int8: −0.021 ms, −27.6 kB, damage 2e-06"
[pass.sites."conv1"]
format = "int8"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.errors import RecipeError, did_you_mean
from compressor.passlist import PassSpec

__all__ = ["Recipe", "dump_recipe", "load_recipe", "with_sites"]

VERSION = 1
TRAINING = "training"
_KEYS = {"version": int, "target": str, "seed": int, "keep": list, "teacher": str, "split": str, "pass": list}
_PASS_KEYS = {"name": str, "options": dict, "sites": dict, "reasons": dict}


@dataclass(frozen=True)
class Recipe:
    """A target (its name, or the path of a user's own), a seed, and passes with their settings.

    `keep` are the globs that they left alone; `teacher` is the digest of a network other than the original. `halved`:
    the data were split for training, which is not seen of passes that only learned what to do, or were taken back.
    """

    passes: tuple[PassSpec, ...]
    target: str | None = None
    seed: int = 0
    keep: tuple[str, ...] = ()
    teacher: str | None = None
    halved: bool = False

    def check_teacher(self, teacher: str | None) -> None:
        """Raises RecipeError unless the teacher given now (its digest) is the one of then."""
        if self.teacher is not None and teacher != self.teacher:
            raise RecipeError(
                "was made with --teacher" + ("" if teacher is None else ", another one than is given now"),
                where="--recipe", way_out="Give the same --teacher again: without it there is nothing to learn from.",
            )  # fmt: skip


def dump_recipe(recipe: Recipe, comment: str = "") -> str:
    """The recipe as TOML, under a comment."""
    import tomli_w

    document: dict[str, Any] = {"version": VERSION, "seed": recipe.seed}
    if recipe.target is not None:
        document["target"] = recipe.target
    if recipe.keep:
        document["keep"] = list(recipe.keep)
    if recipe.teacher is not None:
        document["teacher"] = recipe.teacher
    if recipe.halved:
        document["split"] = TRAINING
    document["pass"] = [
        {
            "name": spec.name,
            "options": dict(spec.options),
            **({"reasons": dict(spec.reasons)} if spec.reasons else {}),
            "sites": {site: dict(setting) for site, setting in spec.sites.items()},
        }
        for spec in recipe.passes
    ]
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + tomli_w.dumps(document)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Raises RecipeError with the key (or line) that is wrong."""
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"is not TOML: {error}", where=str(path)) from error
    _check(document, _KEYS, str(path))
    if document.get("version", VERSION) != VERSION:
        raise RecipeError(f"version {document['version']} is not known; this program writes {VERSION}", where=str(path))
    passes = [_pass(entry, f"{path}: pass {index + 1}") for index, entry in enumerate(document.get("pass", []))]
    keep = tuple(document.get("keep", []))
    if not all(isinstance(glob, str) for glob in keep):
        raise RecipeError("keep is a list of names", where=str(path))
    split = document.get("split")
    if split not in (None, TRAINING):
        raise RecipeError(f"split is {split!r}", where=str(path), way_out=f"It is {TRAINING!r}, or left out.")
    teacher, halved = document.get("teacher"), split == TRAINING
    return Recipe(tuple(passes), document.get("target"), document.get("seed", 0), keep, teacher, halved)


def _pass(entry: Any, where: str) -> PassSpec:
    if not isinstance(entry, Mapping):
        raise RecipeError("is not a table", where=where, way_out="Write [[pass]] with a name under it.")
    _check(entry, _PASS_KEYS, where)
    if "name" not in entry:
        raise RecipeError("has no name", where=where)
    sites = entry.get("sites", {})
    for site, setting in sites.items():
        if not isinstance(setting, Mapping) or not _all_plain(list(setting.values())):
            raise RecipeError("is not a table of plain values", where=f"{where}: site {site!r}")
    if not _all_plain(list(entry.get("options", {}).values())):
        raise RecipeError("options are plain values", where=where)
    reasons = {str(site): str(reason) for site, reason in entry.get("reasons", {}).items()}
    spec = PassSpec(entry["name"], entry.get("options", {}), sites, "recipe", reasons)
    try:
        spec.build()
    except RecipeError as error:
        raise RecipeError(error.what, where=f"{where}: {error.where}".rstrip(": "), way_out=error.way_out) from error
    return spec


def _check(table: Mapping[str, Any], keys: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in keys:
            raise RecipeError(f"unknown key {key!r}", where=where, way_out=did_you_mean(key, list(keys)))
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise RecipeError(f"{key} is a {type(value).__name__}, not a {keys[key].__name__}", where=where)


def _all_plain(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str | int | float | bool) for value in values)


def with_sites(spec: PassSpec, sites: Mapping[str, Any]) -> PassSpec:
    """The same pass, pinned to the site-by-site settings that it ended with."""
    return replace(spec, sites={site: dict(setting) for site, setting in sites.items()})
