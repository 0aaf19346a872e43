"""The goals of `quantization.py`, judged on its cells; what one thread's times say.

A peer's artifact counts where it stays within `--max-drop`'s default of float: 1% of the metric. Ours is slower than
one where the whole interval of the ratio of their times, taken in the same rounds, is above 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cells import Cell

__all__ = ["METRICS", "judged"]

METRICS = {"resnet": "accuracy", "mobilenetv2": "accuracy", "vit": "accuracy", "minilm": "cosine", "gpt": "perplexity"}
USEFUL = 0.01  # of the metric, lost to float
POINT, BODY = 0.001, 0.005  # of accuracy: beside the best peer, and what four bits may lose to float
COSINE, TIME, TERNARY = 0.9975, 0.5, 1.15
BODIES = ("resnet", "mobilenetv2", "vit")
Cells = Mapping[str, Cell]


def judged(cells: Cells) -> Iterator[tuple[str, bool]]:
    """Every goal that can be judged, with its figures, and whether it is met."""
    for name, metric in METRICS.items():
        yield from _against_peers(name, metric, cells)
    yield from _minilm(cells)
    for name in BODIES:
        yield from _four_bits(name, cells)
    yield from _ternary(cells)


def _rows(name: str, kind: str, cells: Cells, metric: str) -> dict[str, Cell]:
    """The rows of one kind that have figures."""
    found = {key.removeprefix(f"{name} "): cell for key, cell in cells.items() if key.startswith(f"{name} {kind}")}
    return {row: cell for row, cell in found.items() if metric in cell and row.split()[0] == kind}


def _loss(metric: str, cell: Cell, reference: Cell) -> float:
    """What a row loses to another one: points of accuracy or cosine, or the share that perplexity grows by."""
    if metric == "perplexity":
        return float(cell[metric] / reference[metric] - 1)
    return float(reference[metric] - cell[metric])


def _against_peers(name: str, metric: str, cells: Cells) -> Iterator[tuple[str, bool]]:
    rows, plain = _rows(name, "int8", cells, metric), cells.get(f"{name} fp32")
    ours, peers = rows.get("int8"), {row: cell for row, cell in rows.items() if cell["tool"] != "ours"}
    if plain is None or ours is None or not peers:
        return
    best = min(peers, key=lambda row: _loss(metric, peers[row], plain))
    behind = _loss(metric, ours, peers[best])
    text = f"{name} int8: {metric} {ours[metric]:.4f}, float {plain[metric]:.4f}, best peer {peers[best][metric]:.4f}"
    yield f"{text} ({best}; goal: at most 0.1 point behind)", behind <= POINT
    allowed = USEFUL * (1.0 if metric == "perplexity" else plain[metric])
    times = {row: cells.get(f"{name} {row} @1", {}) for row in peers if _loss(metric, peers[row], plain) <= allowed}
    times = {row: cell for row, cell in times.items() if "of_int8" in cell}
    if times:
        fastest = min(times, key=lambda row: times[row]["ms"])
        low, ratio, high = times[fastest]["of_int8"]
        text = (
            f"{name} int8: the fastest peer within 1% takes {ratio:.2f} ({low:.2f}–{high:.2f}) of our time ({fastest}"
        )
        yield f"{text}; goal: not less)", high >= 1.0


def _minilm(cells: Cells) -> Iterator[tuple[str, bool]]:
    ours, timed = cells.get("minilm int8"), cells.get("minilm int8 @1")
    if ours is not None and "cosine" in ours and timed is not None:
        low, ratio, high = timed["of_fp32"]
        text = f"minilm int8: cosine {ours['cosine']:.4f} (goal {COSINE}) at {ratio:.2f} ({low:.2f}–{high:.2f}) × fp32"
        yield f"{text} (goal {TIME})", ours["cosine"] >= COSINE and ratio <= TIME


def _four_bits(name: str, cells: Cells) -> Iterator[tuple[str, bool]]:
    """The best of our rows whose body has four bits."""
    rows = {**_rows(name, "int4", cells, "accuracy"), **_rows(name, "mixed", cells, "accuracy")}
    ours, plain = {row: cell for row, cell in rows.items() if cell["tool"] == "ours"}, cells.get(f"{name} fp32")
    if ours and plain is not None:
        best = max(ours, key=lambda row: ours[row]["accuracy"])
        lost = plain["accuracy"] - ours[best]["accuracy"]
        yield f"{name} {best}: {lost * 100:+.2f} points lost to float (goal: at most 0.5)", lost <= BODY


def _ternary(cells: Cells) -> Iterator[tuple[str, bool]]:
    """Trained with the same steps as the float GPT goes on for."""
    trained, plain = cells.get("gpt ternary trained"), cells.get("gpt fp32")
    if trained is not None and plain is not None and "perplexity" in trained:
        ratio = trained["perplexity"] / plain["perplexity"]
        yield f"gpt ternary trained: {ratio:.3f} × float's perplexity (goal {TERNARY})", ratio <= TERNARY
