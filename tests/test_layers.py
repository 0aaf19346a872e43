"""No folder imports back: quant → targets → graph → passes → export → devices → compressor."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout import DRIVER, LAYERS, ROOT, imports, layer_of_module, module_name, sources

# Said by the design beyond the order: artifacts and devices know nothing of particular passes.
KNOWS_NOTHING_OF = {"export": {"passes"}, "devices": {"passes"}}
OUTSIDE = {*LAYERS[:-1], "benchmarks", "examples", "tests"}


def _faults(text: str, path: Path) -> list[str]:
    """Why a file breaks the order, one sentence each."""
    module = module_name(path)
    layer = layer_of_module(module)
    found = []
    for each in imports(text, module, package=path.name == "__init__.py"):
        place = f"{path}:{each.line}"
        first = each.module.partition(".")[0]
        if first in OUTSIDE:
            found.append(f"{place} imports {each.module}: only compressor.… is ours to import")
        theirs = layer_of_module(each.module)
        if theirs is None:
            continue
        if layer is None:
            found.append(f"{place} imports {each.module}: compressor/errors.py imports nothing of ours")
        elif LAYERS.index(theirs) > LAYERS.index(layer):
            found.append(f"{place} imports {each.module}: {layer} comes before {theirs}")
        elif theirs in KNOWS_NOTHING_OF.get(layer, ()):
            found.append(f"{place} imports {each.module}: {layer} knows nothing of {theirs}")
    return found


def test_every_layer_has_source_files() -> None:
    layers = {layer_of_module(module_name(path)) for path in sources()}
    assert layers >= {*LAYERS}
    assert len(sources()) > 60


def test_no_file_imports_from_a_layer_after_its_own() -> None:
    faults = [fault for path in sources() for fault in _faults((ROOT / path).read_text(encoding="utf-8"), path)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("graph/x.py", "from compressor.passes import fold"),
        ("graph/x.py", "import compressor.passes.fold as f"),
        ("graph/x.py", "from compressor import passes"),
        ("graph/x.py", "def f():\n    from compressor.export.onnx import to_onnx"),
        ("graph/x.py", "if TYPE_CHECKING:\n    from compressor.devices import local"),
        ("graph/x.py", "from ..passes import fold"),
        ("graph/__init__.py", "from ..passes.fold import Fold"),
        ("graph/x.py", "TABLE = {'fold': 'compressor.passes.fold:Fold'}"),
        ("quant/x.py", "from compressor.targets import Target"),
        ("targets/x.py", "from compressor.graph.program import Program"),
        ("passes/folding/x.py", "from compressor.cache import Cache"),
        ("export/x.py", "from compressor.passes import find_pass"),
        ("devices/x.py", "from compressor.passes.quantize import Quantize"),
        ("compressor/errors.py", "from compressor.targets import Target"),
        ("compressor/x.py", "import passes"),
        ("passes/x.py", "from targets.loader import load_target"),
        ("compressor/x.py", "from benchmarks.zoo import nets"),
        ("compressor/x.py", "from tests.boards import board"),
    ],
)
def test_a_wrong_import_is_seen(path: str, text: str) -> None:
    assert _faults(text, Path(path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("quant/x.py", "from compressor.errors import InputError\nimport torch"),
        ("graph/x.py", "from compressor.targets.target import Target\nfrom compressor.quant import ops"),
        ("graph/x.py", "from compressor.graph.program import Program\nfrom . import signature"),
        ("passes/folding/x.py", "from ..folding.rule import Rule"),
        ("export/x.py", "from compressor.graph.program import Program\nimport onnx"),
        ("compressor/cli/x.py", "from compressor.devices import local\nfrom compressor.passes import PASSES"),
        ("graph/x.py", "TEXT = 'compressor.passes says no: nothing is imported by a sentence'"),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    assert not _faults(text, Path(path))


def test_the_driver_is_the_last_layer() -> None:
    assert LAYERS[-1] == DRIVER
    assert layer_of_module("compressor.cli.main") == DRIVER
    assert layer_of_module("compressor.targets.loader") == "targets"
    assert layer_of_module("compressor.errors") is None
    assert layer_of_module("torch.nn") is None
