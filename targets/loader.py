"""Reads board files: by name, by alias, or by the path of a user's own TOML file.

Every key is checked before anything uses it, and an error names file, key, what is expected and the way out. Nothing
here imports torch; `host` alone imports the runtime that is installed, to ask it what it can do.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NoReturn, get_args

from compressor.errors import TargetError, did_you_mean
from compressor.targets.operators import operators
from compressor.targets.target import Compiler, Figure, Objective, Provider, Runtime, Sparsity, Target

__all__ = ["HOST", "load_target", "parse_target", "target_names"]

HOST = "host"
FORMATS = ("fp32", "fp16", "int8")
ARCHITECTURES = ("aarch64", "armv7l", "riscv64", "wasm32", "x86_64")
_LARGEST_FILE = 1 << 20
_LARGEST_NUMBER = 1e30
_PATTERN = re.compile(r"([1-9]\d?)of([1-9]\d?)")  # 2of4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRIPLE, _WORD = re.compile(r"[a-z0-9_]+(-[a-z0-9_.]+){1,3}"), re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_CUDA, _VERSION, _FEATURE = re.compile(r"sm_\d{2,3}"), re.compile(r"\d+\.\d+"), re.compile(r"[+-][A-Za-z0-9_.-]+")
_REQUIRED: Any = object()


def target_names() -> list[str]:
    """The names of all boards, and `host`, sorted."""
    return sorted([HOST, *(path.name.removesuffix(".toml") for path in _board_files())])


def load_target(name_or_path: str, *, host_threads: int | None = None) -> Target:
    """The target of that name, alias or TOML file. `host_threads` is how many threads `host` is described with.

    Raises TargetError for an unknown name and for a file that cannot be read or is malformed.
    """
    if name_or_path == HOST:
        from compressor.targets.host import host_target

        return host_target(threads=host_threads)
    if name_or_path.endswith(".toml") or "/" in name_or_path or "\\" in name_or_path:
        return _private(_read(Path(name_or_path)), where=name_or_path)
    boards = {path.name.removesuffix(".toml"): path for path in _board_files()}
    if name_or_path in boards:
        return _bundled(boards[name_or_path])
    aliases = _aliases(map(_bundled, boards.values()), boards)
    if name_or_path in aliases:
        return aliases[name_or_path]
    known = [HOST, *boards, *aliases]
    raise TargetError(
        f"there is no target called {name_or_path!r}",
        way_out=f"{did_you_mean(name_or_path, known)} `compress targets` lists them; your own file works by its path.",
    )


def parse_target(text: str, where: str) -> Target:
    """Read a board file's text. `where` names it in errors. Raises TargetError."""
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; a number of thousands of digits raises the bare kind
        raise TargetError(f"not valid TOML: {error}", where=where, way_out=_example()) from error
    except RecursionError as error:
        raise TargetError("not valid TOML: nested too deeply", where=where, way_out=_example()) from error
    return _target(_Table(table, where))


class _Table:
    """One TOML table. Every key is taken exactly once; `close` refuses those that nobody took."""

    def __init__(self, values: Mapping[str, Any], where: str, label: str = "") -> None:
        self.values, self.where, self.label = dict(values), where, label
        self.known: list[str] = []

    def fail(self, key: str, expected: str, way_out: str = "") -> NoReturn:
        place = f"{self.label}.{key}" if self.label else key
        got = f"is {_shown(self.values[key])}" if key in self.values else "is missing"
        raise TargetError(f"{place} {got}: expected {expected}", where=self.where, way_out=way_out or _example())

    def take(self, key: str, expected: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
        self.known.append(key)
        if key not in self.values and default is not _REQUIRED:
            return default
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.fail(key, expected)
        return value

    def text(self, key: str, default: Any = _REQUIRED, *, empty: bool = False) -> str:
        value: str = self.take(key, "a text", str, default)
        if not value.strip() and not empty and key in self.values:
            self.fail(key, "a text that is not empty")
        return value

    def choice(self, key: str, choices: Iterable[str]) -> str:
        options = list(choices)
        expected = " or ".join(repr(option) for option in options)
        value: str = self.take(key, expected, str)
        if value not in options:
            self.fail(key, expected, did_you_mean(value, [o for o in options if o]))
        return value

    def flag(self, key: str, default: bool) -> bool:
        self.known.append(key)
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, "true or false")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        expected = f"a whole number from {low} to {high}"
        value: int = self.take(key, expected, int)
        if not low <= value <= high:
            self.fail(key, expected)
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        values = self.take(key, "a list of texts", list, default)
        if not all(isinstance(value, str) and value for value in values):
            self.fail(key, "a list of texts")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(self.take(key, f"a table [{self._path(key)}]", dict), self.where, self._path(key))

    def tables(self, key: str, default: Any = _REQUIRED) -> list[_Table]:
        expected = f"one or more tables [[{self._path(key)}]]"
        values = self.take(key, expected, list, default)
        if (not values and default is _REQUIRED) or not all(isinstance(value, dict) for value in values):
            self.fail(key, expected)
        return [_Table(value, self.where, f"{self._path(key)}[{i}]") for i, value in enumerate(values)]

    def figure(self, key: str) -> Figure:
        inner = self.table(key)
        value = inner.take("value", "a positive number", (int, float))
        if not 0 < value < _LARGEST_NUMBER:
            inner.fail("value", "a positive number")
        found = Figure(float(value), inner.text("source"))
        inner.close()
        return found

    def count(self, key: str, high: int) -> tuple[int, str]:
        inner = self.table(key)
        found = inner.whole("value", 1, high), inner.text("source")
        inner.close()
        return found

    def close(self) -> None:
        for key in self.values:
            if key not in self.known:
                place = f"unknown key {self._path(key)!r}"
                raise TargetError(place, where=self.where, way_out=did_you_mean(key, self.known))

    def _path(self, key: str) -> str:
        return f"{self.label}.{key}" if self.label else key


def _target(table: _Table) -> Target:
    counts = {"threads": table.count("threads", 1024), "width_multiple": table.count("width_multiple", 1024)}
    providers = tuple(map(_provider, table.tables("providers")))
    target = Target(
        name=_name(table),
        title=table.text("title"),
        objective="size" if table.choice("objective", get_args(Objective)) == "size" else "latency",
        runtime=_runtime(table.table("runtime")),
        providers=providers,
        passes=table.text("passes", empty=True),
        passes_with_data=table.text("passes_with_data", empty=True),
        rates=_rates(table.table("rates")),
        bandwidth=table.figure("bandwidth"),
        node_overhead=table.figure("node_overhead"),
        memory=table.figure("memory"),
        threads=counts["threads"][0],
        width_multiple=counts["width_multiple"][0],
        arch=table.choice("arch", ARCHITECTURES),
        aliases=table.texts("aliases", ()),
        notes=table.texts("notes", ()),
        optional_providers=tuple(map(_provider, table.tables("optional_providers", ()))),
        sources={key: source for key, (_, source) in counts.items()},
        power=_power(table),
        compiler=_compiler(table),
    )
    table.close()
    names = [provider.name for provider in (*target.providers, *target.optional_providers)]
    for name in names:
        if names.count(name) > 1:
            raise TargetError(f"provider {name!r} is listed {names.count(name)} times", where=table.where)
    return target


def _power(table: _Table) -> Figure | None:
    """Watts while it computes; a board that does not tell loads all the same."""
    table.known.append("power")
    return table.figure("power") if "power" in table.values else None


def _compiler(table: _Table) -> Compiler | None:
    """What a compiler is told; a board without it has its own runtime alone."""
    table.known.append("compiler")
    if "compiler" not in table.values:
        return None
    inner = table.table("compiler")
    compiler = Compiler(
        triple=_word(inner, "triple", _TRIPLE, "LLVM's triple: 'aarch64-linux-gnu'"),
        cpu=_word(inner, "cpu", _WORD, "LLVM's name of the processor: 'cortex-a76'"),
        formats=_formats(inner),
        source=inner.text("source"),
        features=inner.texts("features", ()),
        cuda=_word(inner, "cuda", _CUDA, "the GPU's architecture: 'sm_87'", ""),
        glibc=_word(inner, "glibc", _VERSION, "the C library's version: '2.31'", ""),
        emulated=_word(inner, "emulated", _WORD, "a core of `compress devices setup qemu`: 'cortex-a76'", ""),
    )
    for feature in compiler.features:
        if not _FEATURE.fullmatch(feature):
            inner.fail("features", "LLVM's words with a sign: '+dotprod'")
    if not compiler.triple.startswith(table.values["arch"]):
        inner.fail("triple", f"one that starts with the board's arch, {table.values['arch']}")
    inner.close()
    return compiler


def _word(table: _Table, key: str, pattern: re.Pattern[str], expected: str, default: Any = _REQUIRED) -> str:
    """These words become part of command lines."""
    word = table.text(key, default)
    if key in table.values and not pattern.fullmatch(word):
        table.fail(key, expected)
    return word


def _name(table: _Table) -> str:
    name = table.text("name")
    if not _NAME.fullmatch(name) or name == HOST:
        # The name becomes part of the output folder's name, so a path separator must not get through.
        table.fail("name", f"letters, digits, dots and dashes, other than {HOST!r}")
    return name


def _runtime(table: _Table) -> Runtime:
    runtime = Runtime(
        name=table.text("name"),
        version=table.text("version"),
        opset=table.whole("opset", 7, 99),
        source=table.text("source"),
        install=table.text("install", ""),
    )
    table.close()
    return runtime


def _provider(table: _Table) -> Provider:
    formats, listed = _formats(table), table.texts("operators")
    if not listed or ("*" in listed and len(listed) > 1):
        table.fail("operators", 'operator types, "@list" names, or "*" alone')
    activations = table.choice("activations", ("int8", "uint8", ""))
    provider = Provider(
        name=table.text("name"),
        formats=formats,
        operators=operators(listed, where=f"{table.where}: {table.label}.operators"),
        activations=activations,
        source=table.text("source"),
        sparsity=tuple(map(_sparsity, table.tables("sparsity", ()))),
        saturates=table.flag("saturates", activations == "uint8"),
    )
    if ("int8" in formats) != bool(provider.activations):
        table.fail("activations", "'int8' or 'uint8' where formats has int8, '' where it has not")
    table.close()
    return provider


def _formats(table: _Table) -> tuple[str, ...]:
    formats = table.texts("formats")
    for name in formats:
        if name not in FORMATS:
            table.fail("formats", f"formats out of {', '.join(FORMATS)}", did_you_mean(name, list(FORMATS)))
    if not formats:
        table.fail("formats", "at least one format")
    return formats


def _sparsity(table: _Table) -> Sparsity:
    match = _PATTERN.fullmatch(table.text("pattern"))
    if not match or int(match[1]) >= int(match[2]):
        table.fail("pattern", "how many weights of how many stay: '2of4'")
    speedup = table.take("speedup", "a number from 1 to 64", (int, float))
    if not 1 <= speedup <= 64:
        table.fail("speedup", "a number from 1 to 64")
    formats = table.texts("formats")
    if not formats or not set(formats) <= set(FORMATS):
        table.fail("formats", f"formats out of {', '.join(FORMATS)}")
    width, source = table.whole("width", 1, 1 << 20), table.text("source")
    table.close()
    return Sparsity(int(match[1]), int(match[2]), formats, float(speedup), width, source)


def _rates(table: _Table) -> dict[str, Figure]:
    rates = {name: table.figure(name) for name in FORMATS if name in table.values or name == "fp32"}
    table.known += FORMATS
    table.close()
    return rates


def _read(path: Path) -> str:
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise TargetError("larger than 1 MB: not a target file", where=where, way_out=_example())
        return data.decode("utf-8")
    except FileNotFoundError as error:
        names = f"Targets by name: {', '.join(target_names())}."
        raise TargetError("there is no such file", where=where, way_out=names) from error
    except UnicodeDecodeError as error:
        raise TargetError("not UTF-8 text: not a target file", where=where, way_out=_example()) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        way_out = "Check the path and its permissions."
        raise TargetError(f"cannot be read: {error}", where=where, way_out=way_out) from error


def _bundled(path: Traversable) -> Target:
    target, name = parse_target(path.read_text(encoding="utf-8"), where=f"targets/{path.name}"), path.name
    if target.name != name.removesuffix(".toml"):
        raise TargetError(
            f"name is {target.name!r}: expected {name.removesuffix('.toml')!r}, as the file is called",
            where=f"targets/{name}", way_out="A copy of another board takes a name and aliases of its own.",
        )  # fmt: skip
    return target


def _private(text: str, where: str) -> Target:
    """A user's own file. What is measured is kept under its name, so it may not take that of another board."""
    target = parse_target(text, where)
    for path in _board_files():
        if path.name == f"{target.name}.toml" and path.read_text(encoding="utf-8") != text:
            raise TargetError(
                f"name is {target.name!r}, which is a board that comes along: what is measured of one would answer for "
                "the other",
                where=where, way_out="Give it a name of its own.",
            )  # fmt: skip
    return target


def _aliases(targets: Iterable[Target], names: Iterable[str]) -> dict[str, Target]:
    """Targets by alias. Raises TargetError for one that leads to two boards."""
    found: dict[str, Target] = {}
    for target in targets:
        for alias in target.aliases:
            if alias in found or alias in names:
                first = found[alias].name if alias in found else alias
                raise TargetError(
                    f"the alias {alias!r} is {first}'s already", where=f"targets/{target.name}.toml",
                    way_out="Give the board others, or none.",
                )  # fmt: skip
            found[alias] = target
    return found


def _board_files() -> list[Traversable]:
    folder = resources.files("compressor.targets")
    return sorted((path for path in folder.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name)


def _shown(value: object) -> str:
    """A value as an error shows it: short, and safe for integers that Python refuses to write out."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # a container of such integers
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"


def _example() -> str:
    return "targets/raspberry-pi-5.toml in the package is a complete example to copy from."
