"""Pass lists as text: `name[=main option][:option=value]…` joined by commas, and back.

    fold,int8:calibrator=entropy      ⇔      fold, quantize(format="int8", calibrator="entropy")

The options are the fields of the pass's dataclass, converted by their annotations; there is no second list.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from compressor.errors import RecipeError, did_you_mean
from compressor.passes import ALIASES, SHORTHANDS, find_pass

if TYPE_CHECKING:
    from compressor.graph.contract import Pass, Setting, Value

__all__ = ["ChosenBy", "PassSpec", "parse_passes", "pass_options"]

ChosenBy = Literal["default", "user", "recipe", "planner"]
NONE = "none"
_SUCH = {bool: "Write true or false.", int: "Write a whole number: 8.", float: "Write a number, shares too: 0.5."}
_NOT_OPTIONS = ("sites", "keep")  # given by recipes and by --keep


@dataclass(frozen=True)
class PassSpec:
    """One pass with its options and, from a recipe or plan, its settings site by site, and `reasons`; not built."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)
    sites: Mapping[str, Setting] = field(default_factory=dict)
    chosen_by: ChosenBy = "user"
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether we chose it, so that it may be taken back without asking."""
        return self.chosen_by in ("default", "planner")

    @property
    def is_pinned(self) -> bool:
        """Whether its sites were chosen for what they are, and not by the pass."""
        return self.chosen_by in ("recipe", "planner")

    def __str__(self) -> str:
        main = find_pass(self.name).main
        head = f"{self.name}={_text(self.options[main])}" if main in self.options else self.name
        rest = (f":{key}={_text(value)}" for key, value in self.options.items() if key != main)
        return head + "".join(rest)

    def build(self, keep: tuple[str, ...] = ()) -> Pass:
        """The pass. Raises RecipeError for an unknown option or a value that does not fit."""
        kind = find_pass(self.name)
        hints = pass_options(kind)
        values: dict[str, Any] = {}
        for key, value in self.options.items():
            if key not in hints:
                raise RecipeError(
                    f"{self.name} has no option {key!r}",
                    way_out=did_you_mean(key, list(hints)) if hints else f"{self.name} takes no options.",
                )
            values[key] = _convert(value, hints[key], f"{self.name}:{key}")
        return kind(**values, sites=dict(self.sites), keep=keep)


def parse_passes(text: str, chosen_by: ChosenBy = "user") -> list[PassSpec]:
    """Read a pass list; "none" and "" are one without passes. Raises RecipeError naming the part that is wrong. Options
    are checked by `build`."""
    specs = [] if text.strip() in ("", NONE) else [_parse_one(part.strip(), chosen_by) for part in text.split(",")]
    for spec in specs:
        spec.build()
    return specs


def pass_options(kind: type[Pass]) -> dict[str, Any]:
    """The options of a pass: field name → annotated type."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.name not in _NOT_OPTIONS}


def _parse_one(text: str, chosen_by: ChosenBy) -> PassSpec:
    head, *rest = text.split(":")
    name, equals, main = (part.strip() for part in head.partition("="))
    if not name:
        raise RecipeError(
            f"no pass name in {text!r}" if text else "an empty pass between commas",
            way_out="A pass list looks like fold,int8:calibrator=entropy.",
        )
    name = ALIASES.get(name, name)
    options: dict[str, Value] = {}
    if name in SHORTHANDS:
        if equals:
            raise RecipeError(f"{name} takes no value", way_out=f"Write {name} or {SHORTHANDS[name][0]}={name}.")
        name, main = SHORTHANDS[name]
    if main or equals:
        key = find_pass(name).main
        if not key or not main:
            raise RecipeError(f"{name} takes no value" if main else f"no value after {name}=")
        options[key] = main
    for part in rest:
        if part.strip().isdigit() and len(options) > 0:  # device=cuda:1
            options[next(reversed(options))] += f":{part.strip()}"  # type: ignore[operator]
            continue
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals or not value:
            raise RecipeError(f"{part!r} is not option=value", where=text)
        options[key] = value
    return PassSpec(name, options, {}, chosen_by)


def _convert(value: Value, hint: Any, where: str) -> Any:
    """A value as the field's type; text from the command line is parsed, typed values from TOML are checked."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        allowed = typing.get_args(hint)
        if value in allowed:
            return value
        raise RecipeError(f"{value!r} is not one of {', '.join(map(str, allowed))}", where=where)
    if origin in (typing.Union, types.UnionType):
        if value in ("none", None):
            return None
        return _convert(value, next(arm for arm in typing.get_args(hint) if arm is not type(None)), where)
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            number = hint(value)
        except (ValueError, OverflowError):
            number = None
        if number is not None and number == number and abs(number) != float("inf"):
            return number
    elif hint is str and isinstance(value, str):
        return value
    raise RecipeError(f"{value!r} is not a {getattr(hint, '__name__', hint)}", where=where, way_out=_SUCH.get(hint, ""))


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
