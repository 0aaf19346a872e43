"""The repository as the structural tests see it: layers, source files, and what each file imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DRIVER", "LAYERS", "ROOT", "Import", "imports", "layer_of_module", "module_name", "public_names", "sources"]

ROOT = Path(__file__).resolve().parents[1]
DRIVER = "compressor"
LAYERS = ("quant", "targets", "graph", "passes", "export", "devices", DRIVER)  # each imports from those before it
_MODULE = re.compile(r"compressor(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class Import:
    """A module that a file names, and the line that does."""

    module: str
    line: int


def sources() -> list[Path]:
    """Every source file, relative to the root, by its real path: links are not followed."""
    found: list[Path] = []
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            relative = path.relative_to(ROOT)
            linked = any((ROOT / parent).is_symlink() for parent in relative.parents)
            if not linked and "__pycache__" not in relative.parts:
                found.append(relative)
    return sorted(found)


def module_name(path: Path) -> str:
    """The module that a file is imported as: passes/fold.py is compressor.passes.fold."""
    parts = path.with_suffix("").parts
    parts = parts if parts[0] == DRIVER else (DRIVER, *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of_module(module: str) -> str | None:
    """The layer of a module of ours, or None for anybody else's; `compressor.errors` belongs to none."""
    if module == "compressor.errors" or module.startswith("compressor.errors."):
        return None
    first, _, rest = module.partition(".")
    if first != DRIVER:
        return None
    layer = rest.partition(".")[0]
    return layer if layer in LAYERS[:-1] else DRIVER


def imports(text: str, module: str, *, package: bool = False) -> Iterator[Import]:
    """What a file imports: at the top, inside functions, for type checkers only, and by name in a string.

    Tables of lazy imports hold strings such as "compressor.passes.fold:Fold"; those count, too.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, package)
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if _MODULE.fullmatch(name):
                yield Import(name, node.lineno)


def _base(node: ast.ImportFrom, module: str, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + package]
    return ".".join([*parts, node.module] if node.module else parts)


def public_names(text: str) -> tuple[list[str] | None, set[str], set[str]]:
    """`__all__` (None where there is none), every name bound at the top, and the functions and classes among them."""
    listed: list[str] | None = None
    bound: set[str] = set()
    defined: set[str] = set()
    for node in _top_level(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            bound |= names
            if "__all__" in names and node.value is not None:
                listed = [str(name) for name in ast.literal_eval(node.value)]
    return listed, bound | defined, defined


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run on import, those under `if TYPE_CHECKING:`, `try:` and `with` included."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                for inner in getattr(node, part, []):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])
