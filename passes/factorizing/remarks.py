"""What was lost, in sentences: the layers' output errors beside those of plain SVD at the same ranks."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.solve import Made

__all__ = ["remarks"]


def remarks(found: Sequence[tuple[Site, Made]]) -> tuple[str, ...]:
    """Means over the layers of ‖y − ŷ‖ / ‖y‖, and which were cut without data though it was given."""
    if not found:
        return ()
    weighed = [made for _, made in found if made.choice.asks_for_inputs and not made.note]
    blind = [made for _, made in found if not made.choice.asks_for_inputs]
    notes = []
    if weighed:
        own, plain = (sum(errors) / len(weighed) for errors in zip(*((m.error, m.plain) for m in weighed), strict=True))
        notes.append(
            f"the outputs of {len(weighed)} layers are off by {own:.1%} on the calibration data, by plain SVD of the "
            f"same ranks {plain:.1%}"
        )
    if blind:
        lost = sum(made.error for made in blind) / len(blind)
        notes.append(f"the weights of {len(blind)} layers are off by {lost:.1%}; no data weighed what counts")
    notes += [f"{site.name} was cut without data: {made.note}" for site, made in found if made.note]
    return tuple(notes)
