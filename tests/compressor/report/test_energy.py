"""Energy in sentences."""

from __future__ import annotations

import pytest
from reports import energetic, figures, sample

from compressor.devices.energy import WORLD, BreakEven, Making
from compressor.report.compare import rows
from compressor.report.energy import break_even_text, carbon_text, energy_lines, making_text, times
from compressor.report.model import Decoding


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (BreakEven("always"), "from the first inference on"),
        (BreakEven("never"), "never"),
        (BreakEven("equal"), "the same at any number"),
        (BreakEven("from", 200.0, 200.0, 200.0), "from 200 inferences on"),
        (BreakEven("until", 200.0, 100.0, 300.0), "until 200 inferences (95%: 100 to 300)"),
        (
            BreakEven("from", 2e7, 1e7, None, sure=False),
            "from 2e+07 inferences on (95%: 1e+07 or more), not certain within the intervals",
        ),
        (BreakEven("never", sure=False), "never, not certain within the intervals"),
    ],
)
def test_break_even_in_words(found: BreakEven, text: str) -> None:
    assert break_even_text(found) == text


def test_a_decoders_energy_is_of_a_token() -> None:
    decoding = Decoding(128, 128, 32, 4, 0.5, 0.1, 1.0)
    lines = list(energy_lines(energetic(decoding=decoding)))
    assert lines[0].startswith("1,000 tokens: ")
    assert "from 10,000 tokens on" in lines[-1]
    assert not any("inference" in line for line in lines)
    assert {row.key: row.label for row in rows(energetic(decoding=decoding))}["energy"] == "energy a token"
    assert {row.key: row.label for row in rows(energetic())}["energy"] == "energy an inference"


def test_numbers_of_inferences() -> None:
    assert [times(count) for count in (0.4, 12_345.0, 1.5e6)] == ["0", "12,345", "1.5e+06"]


def test_making_says_how_it_is_known_and_what_earlier_runs_took() -> None:
    assert making_text(Making(9.0, 12.0, 144.0, False, "estimated: x")) == "144 J, 12 CPU seconds, 9 s; estimated: x"
    assert "12 CPU seconds, of which 2 in earlier runs" in making_text(
        Making(9.0, 12.0, 144.0, True, "measured: x", 2.0)
    )


def test_an_assumed_intensity_is_called_one() -> None:
    assert carbon_text(WORLD).startswith("475 g CO2e a kWh, assumed: ")


def test_all_that_is_known_is_said_and_nothing_else() -> None:
    assert len(list(energy_lines(energetic()))) == 5
    assert list(energy_lines(sample())) == []
    lines = list(energy_lines(energetic(before=figures(), after=figures(), break_even=None)))
    assert [line.partition(":")[0] for line in lines] == ["making it"]
