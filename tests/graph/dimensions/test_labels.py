"""Units, sets of units, and equations between axes: what is removed together, and what cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.dimensions.labels import Labels, Vector

WHY = "do not fit"


def gone(labels: Labels, vector: Vector, removed: set[int]) -> npt.NDArray[np.bool_]:
    return np.asarray([not removed.isdisjoint(labels.atoms(int(handle))) for handle in vector])


def free(labels: Labels, vector: Vector) -> set[int]:
    return {atom for handle in vector for atom in labels.atoms(int(handle))}


def table(*shape: int) -> Vector:
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def test_united_axes_have_the_same_units() -> None:
    labels = Labels()
    one, two, three = (labels.fresh(name, 4) for name in "abc")
    labels.unite(one, two, WHY)
    assert (labels.resolve(one) == labels.resolve(two)).all()
    assert not set(labels.resolve(one)) & set(labels.resolve(three))
    labels.unite(two, three[::-1], WHY)
    assert (labels.resolve(one) == labels.resolve(three)[::-1]).all()
    assert len(free(labels, one)) == 4


def test_an_axis_may_turn_out_to_be_a_grid() -> None:
    labels = Labels()
    rows, heads, inner = labels.fresh("rows", 6), labels.fresh("heads", 2), labels.fresh("inner", 3)
    labels.unite(rows, labels.grid([heads, inner]), WHY)
    assert [labels.atoms(int(row)) for row in rows[:2]] == [(heads[0], inner[0]), (heads[0], inner[1])]
    assert gone(labels, rows, {int(heads[1])}).tolist() == [False] * 3 + [True] * 3
    assert gone(labels, rows, {int(inner[2])}).tolist() == [False, False, True] * 2
    assert labels.origin(int(inner[2])) == ("inner", 2)


def test_a_split_axis_loses_whole_heads_or_the_same_unit_in_every_head() -> None:
    labels = Labels()
    rows = labels.fresh("rows", 6)
    heads, inner = labels.split(rows, table(2, 3), "view", WHY)
    assert gone(labels, rows, free(labels, heads[:1])).tolist() == [True] * 3 + [False] * 3
    assert gone(labels, rows, free(labels, inner[1:2])).tolist() == [False, True, False] * 2
    again = labels.split(rows, table(2, 3), "another view", WHY)
    assert all((labels.resolve(a) == labels.resolve(b)).all() for a, b in zip(again, (heads, inner), strict=True))
    assert (labels.resolve(labels.grid([heads, inner])) == labels.resolve(rows)).all()


def test_positions_with_equal_slabs_are_one_unit() -> None:
    labels = Labels()
    channels = labels.fresh("channels", 12)
    rows = np.tile(np.arange(2), 3)  # pixel shuffle: channel 4c + 2(h mod 2) + (w mod 2) at c, h, w
    moved = np.arange(3)[:, None, None] * 4 + rows[:, None] * 2 + rows
    apart, down, across = labels.split(channels, moved, "pixels", WHY)
    assert gone(labels, channels, free(labels, apart[:1])).tolist() == [True] * 4 + [False] * 8
    assert (labels.resolve(down[:2]) == labels.resolve(down[4:])).all()
    assert gone(labels, channels, free(labels, across[1:2])).tolist() == [False, True] * 6


def test_repeated_heads_stay_tied_to_their_key() -> None:
    labels = Labels()
    keys = labels.fresh("keys", 2)
    queries = labels.fresh("queries", 6)
    labels.unite(queries, np.repeat(keys, 3), WHY)
    removed = free(labels, keys[1:])
    assert gone(labels, queries, removed).tolist() == [False] * 3 + [True] * 3
    each = labels.fresh("each", 3)
    other = labels.fresh("other", 6)
    labels.unite(other, labels.grid([keys, each]), WHY)  # or one of the three of every key
    assert gone(labels, other, free(labels, each[:1])).tolist() == [True, False, False] * 2


def test_shuffled_channels_go_in_pairs() -> None:
    labels = Labels()
    channels = labels.fresh("channels", 8)
    labels.split(channels, table(2, 4), "groups", WHY)
    shuffled = channels.reshape(2, 4).T.reshape(-1)
    joined = np.concatenate([shuffled[:4], labels.fresh("new", 4)])  # one half goes on, the other is computed anew
    labels.split(joined, table(2, 4), "next groups", WHY)
    pairs = [unit for unit in free(labels, channels) if gone(labels, channels, {unit}).sum() == 2]
    assert len(pairs) == 4
    reached = [gone(labels, joined, {unit}) for unit in pairs]
    assert sorted(int(rows[:4].sum()) for rows in reached) == [0, 0, 2, 2]
    assert all((rows[:4] == rows[4:]).all() for rows in reached)


def test_grids_that_do_not_fit_leave_nothing_to_remove() -> None:
    labels = Labels()
    rows = labels.fresh("rows", 6)
    labels.split(rows, table(2, 3), "one", WHY)
    labels.split(rows, table(3, 2), "two", WHY)
    left = free(labels, rows)
    assert left <= set(labels.emptying(rows))  # what is not frozen takes every row at once
    told = {labels.reason(atom) for row in rows for atom in labels.atoms(int(row), raw=True)}
    assert told - {None} == {WHY}


def test_an_atom_without_a_counterpart_is_frozen_not_its_neighbours() -> None:
    labels = Labels()
    heads, inner, bias = labels.fresh("heads", 2), labels.fresh("inner", 3), labels.fresh("bias", 3)
    labels.unite(labels.grid([heads, inner]), np.tile(bias, 2), WHY)  # x[h, i] + bias[i]
    assert free(labels, heads) == set()
    assert labels.reason(int(heads[0])) == WHY
    assert len(free(labels, inner)) == 3
    assert (labels.resolve(inner) == labels.resolve(bias)).all()


def test_the_first_reason_is_passed_on() -> None:
    labels = Labels()
    output, layer, heads, inner = (labels.fresh(n, k) for n, k in (("o", 6), ("l", 6), ("h", 2), ("i", 3)))
    labels.freeze(output, "is an output")
    labels.unite(layer, output, WHY)
    assert labels.reason(int(layer[0])) == "is an output"
    labels.unite(labels.grid([heads, inner]), output, WHY)
    assert {labels.reason(int(atom)) for atom in (*heads, *inner)} == {"is an output"}
    assert free(labels, np.concatenate([layer, heads, inner])) == set()


def test_freezing_an_axis_freezes_what_it_stands_for() -> None:
    labels = Labels()
    rows, heads, inner = labels.fresh("rows", 6), labels.fresh("heads", 2), labels.fresh("inner", 3)
    labels.unite(rows, labels.grid([heads, inner]), WHY)
    labels.freeze(rows[:1], "is taken")
    assert labels.reason(int(heads[0])) == labels.reason(int(inner[0])) == "is taken"
    assert gone(labels, rows, free(labels, rows)).tolist() == [False, True, True, True, True, True]
    assert labels.atoms(int(rows[0])) == ()
    assert labels.atoms(int(rows[0]), raw=True) == (heads[0], inner[0])


def test_joined_units_go_when_any_of_them_goes() -> None:
    labels = Labels()
    one, two = labels.fresh("one", 2), labels.fresh("two", 2)
    both = labels.join(one, two, np.zeros(2, np.int64))
    assert gone(labels, both, {int(one[0])}).tolist() == [True, False]
    assert gone(labels, both, {int(two[1])}).tolist() == [False, True]
    assert (labels.join(both, one) == both).all()


def test_what_every_unit_shares_would_empty_the_axis() -> None:
    labels = Labels()
    one, shared = labels.fresh("one", 3), labels.fresh("shared", 1)
    assert labels.emptying(one) == ()
    assert labels.emptying(labels.join(one, np.repeat(shared, 3))) == (shared[0],)
    assert labels.emptying(np.repeat(one[:1], 4)) == (one[0],)
    assert labels.emptying(np.zeros(3, np.int64)) == ()


def test_members_of_families_can_be_frozen_from_the_start() -> None:
    labels = Labels({("rows", 1)})
    rows = labels.fresh("rows", 3)
    assert labels.atoms(int(rows[1])) == ()
    assert "empty" in str(labels.reason(int(rows[1])))
    assert free(labels, rows) == {int(rows[0]), int(rows[2])}


def test_members_lists_the_atoms_of_every_set() -> None:
    labels = Labels()
    heads, inner = labels.fresh("heads", 2), labels.fresh("inner", 3)
    grid = labels.grid([heads, inner])
    count, atoms, starts = labels.members()
    sets = np.split(atoms, starts[1:])
    assert count == 6
    assert [tuple(sets[-handle - 1]) for handle in grid] == [labels.atoms(int(handle)) for handle in grid]


@dataclass
class Story:
    """Axes of twelve units and what was claimed of them."""

    labels: Labels = field(default_factory=Labels)
    axes: list[Vector] = field(default_factory=list)
    equal: list[tuple[Vector, Vector]] = field(default_factory=list)
    split: list[tuple[Vector, Vector, list[Vector]]] = field(default_factory=list)
    stuck: list[Vector] = field(default_factory=list)

    def step(self, what: int, which: int, how: int) -> None:
        if not self.axes or what == 0:
            self.axes.append(self.labels.fresh(str(len(self.axes)), 12))
            return
        one, two = self.axes[which % len(self.axes)], self.axes[how % len(self.axes)]
        if what == 1:
            self.labels.unite(one, two, WHY)
            self.equal.append((one, two))
        elif what == 2:
            shape = [(2, 6), (6, 2), (3, 4), (4, 3), (2, 2, 3), (3, 2, 2)][how % 6]
            sides = self.labels.split(one, table(*shape), f"split {len(self.split)}", WHY)
            self.split.append((one, table(*shape), sides))
            self.axes.append(self.labels.grid([sides[-1], self._filled(len(one) // len(sides[-1]))]))
        elif what == 3:
            rows, columns = [(2, 6), (3, 4), (4, 3)][how % 3]
            self.axes.append(one.reshape(rows, columns).T.reshape(-1))
        elif what == 4:
            self.axes.append(np.concatenate([one[:6], two[6:]]))
        elif what == 5:
            self.axes.append(np.repeat(one[how % 10 : how % 10 + 2], 6))
        elif what == 6:
            self.axes.append(self.labels.join(one, two))
        else:
            self.labels.freeze(one[how % 12 :][:2], "is stuck")
            self.stuck.append(one[how % 12 :][:2])

    def _filled(self, size: int) -> Vector:
        return self.labels.fresh(f"filled {len(self.axes)}", size)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 99), st.integers(0, 99)), min_size=4, max_size=14),
    st.integers(0, 999),
)
def test_no_sequence_of_claims_makes_a_removal_inconsistent(steps: list[tuple[int, int, int]], seed: int) -> None:
    story = Story()
    for step in steps:
        story.step(*step)
    chance, labels = np.random.default_rng(seed), story.labels
    atoms = sorted({atom for axis in story.axes for atom in free(labels, axis)})
    for share in (0.1, 0.5, 1.0):
        removed = {atom for atom in atoms if chance.random() < share}
        for one, two in story.equal:
            assert (gone(labels, one, removed) == gone(labels, two, removed)).all()
        for axis, grid, sides in story.split:
            expected = reduce(np.logical_or.outer, [gone(labels, side, removed) for side in sides])
            assert (gone(labels, axis, removed)[grid] == expected).all()
        for axis in story.stuck:
            assert not gone(labels, axis, removed).any()
