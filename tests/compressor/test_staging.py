"""What a board is given of a candidate: a sound bundle, of a decoder with what answering takes."""

from __future__ import annotations

from pathlib import Path

from decoders import Growing, texts

from compressor.cache import Cache
from compressor.devices.decoder_job import decoder_of
from compressor.export.verify import open_bundle, verify_bundle
from compressor.gate import Gate
from compressor.graph.contract import Context, Progress
from compressor.judging import Workshop
from compressor.metrics import parse_drop
from compressor.pipeline import Pipeline
from compressor.prepare import prepare
from compressor.request import Request
from compressor.staging import staged
from compressor.targets import load_target


def test_a_decoder_is_one_there_too(tmp_path: Path) -> None:
    prepared = prepare(Request(Growing(), data=texts("ids")), load_target("x86-64"), 0, Progress())
    pipeline = Pipeline(Context(prepared.target), Gate("latency"), Cache(None), "")
    workshop = Workshop(prepared, pipeline, tmp_path, parse_drop("1%"), 1, 1)
    folder = staged(workshop.build(prepared.program), prepared, tmp_path / "bundle")
    assert verify_bundle(folder).ok
    found = decoder_of(open_bundle(folder))
    assert found is not None
    assert (found["tokens"], found["scores"]) == ("ids", "logits")
