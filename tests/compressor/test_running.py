"""A bundle's model runs in the runtime that it is for; machine code where it is trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import InputError
from compressor.export.verify import open_bundle
from compressor.running import running


@pytest.mark.parametrize("runtime", ["ONNX Runtime", "TVM"])
def test_it_meets_the_golden_vectors(runtime: str, request: pytest.FixtureRequest) -> None:
    bundle = open_bundle(request.getfixturevalue("decoder_bundle" if runtime != "TVM" else "tvm_decoder_bundle"))
    name, run = running(bundle, 1, trust=runtime == "TVM")
    assert name == runtime
    found = run({name: bundle.golden[name] for name in bundle.inputs})
    for output in bundle.outputs:
        given = found[output] if isinstance(found[output], np.ndarray) else found[output].numpy()
        np.testing.assert_allclose(given, bundle.golden[output], rtol=1e-4, atol=1e-5)


def test_a_cache_goes_from_run_to_run_as_it_is(tvm_decoder_bundle: Path) -> None:
    bundle = open_bundle(tvm_decoder_bundle)
    _, run = running(bundle, 1, trust=True)
    feed = {name: bundle.golden[name] for name in bundle.inputs}
    first = run(feed)
    again = run({"ids": feed["ids"], "past_key_values.states": first["present.states"]})
    kept = run({"ids": feed["ids"], "past_key_values.states": first["present.states"].numpy()})
    np.testing.assert_array_equal(again["logits"], kept["logits"])


def test_machine_code_is_not_run_unasked(tvm_decoder_bundle: Path) -> None:
    with pytest.raises(InputError, match="machine code") as told:
        running(open_bundle(tvm_decoder_bundle), 1, trust=False)
    assert "--trust" in told.value.way_out
