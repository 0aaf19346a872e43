"""Which slices live and die together: units, sets of them, and the equations between axes.

    one unit of an axis       u ⊆ atoms           removed when any of its atoms is removed
    two axes that agree       u_i = v_i           unite atoms, or express one axis by the other
    a split axis (a·b → a, b) u_(i,j) = A_i ∪ B_j only full grids may stay

An atom is the smallest thing that can be removed. An axis of `n` units is a vector of `n` handles: 0 is the unit that
always stays, a positive number an atom, a negative one a set of atoms. Union-find over atoms, extended by
substitution: an atom may turn out to stand for a set (a row of a packed projection is *its head or its inner unit*).
What cannot be expressed is frozen, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Labels", "Vector"]

Vector = npt.NDArray[np.int64]
_NOTHING: tuple[int, ...] = ()


class Labels:
    """The atoms of one program, the sets they form, what stands for what, and what is frozen and why."""

    def __init__(self, always: Iterable[tuple[str, int]] = ()) -> None:
        """`always` names members of families (name, position) that are frozen from the start."""
        self._stands_for: list[int] = [0]  # by atom: itself, or the handle that replaces it
        self._sets: list[tuple[int, ...]] = []
        self._handles: dict[tuple[int, ...], int] = {_NOTHING: 0}
        self._origin: list[tuple[str, int]] = [("", 0)]
        self._frozen: dict[int, str] = {}
        self._always = frozenset(always)
        self._known: dict[int, int] = {}  # handle → canonical handle, valid until the next change
        self._known_raw: dict[int, int] = {}

    def fresh(self, family: str, size: int) -> Vector:
        """An axis of `size` atoms of its own."""
        first = len(self._stands_for)
        self._stands_for.extend(range(first, first + size))
        self._origin.extend((family, position) for position in range(size))
        for position in range(size) if self._always else ():
            if (family, position) in self._always:
                self._freeze_atom(first + position, "an axis would be left empty without it")
        return np.arange(first, first + size, dtype=np.int64)

    def origin(self, atom: int) -> tuple[str, int]:
        """The family that an atom was made in, and its place there."""
        return self._origin[atom]

    def atoms(self, handle: int, *, raw: bool = False) -> tuple[int, ...]:
        """The free atoms behind a handle, sorted; frozen ones too when `raw`."""
        canonical = self._canonical(handle, raw)
        if canonical >= 0:
            return (canonical,) if canonical else _NOTHING
        return self._sets[-canonical - 1]

    def resolve(self, vector: Vector, *, raw: bool = False) -> Vector:
        """The same axis in canonical handles: equal handles now mean the same unit."""
        values, inverse = np.unique(vector, return_inverse=True)
        found = np.fromiter((self._canonical(int(v), raw) for v in values), np.int64, len(values))
        return found[inverse]

    def join(self, *vectors: Vector) -> Vector:
        """Unit by unit the union: removed when any of them is."""
        first, *others = vectors
        for other in others:
            pairs, inverse = np.unique(np.stack([first, other]), axis=1, return_inverse=True)
            joined = [self._handle((*self.atoms(int(a), raw=True), *self.atoms(int(b), raw=True))) for a, b in pairs.T]
            first = np.asarray(joined, dtype=np.int64)[inverse.reshape(-1)]
        return first

    def freeze(self, vector: Vector, reason: str) -> None:
        """Nothing of this axis may be removed."""
        for handle in np.unique(vector):
            for atom in self.atoms(int(handle)):
                self._freeze_atom(atom, reason)

    def reason(self, atom: int) -> str | None:
        """Why an atom (as `atoms(raw=True)` gives it) is frozen; None where it is free."""
        return self._frozen.get(atom)

    def unite(self, one: Vector, two: Vector, reason: str) -> None:
        """Make two axes of the same length agree unit by unit; `reason` is told for what has to freeze."""
        while True:  # every turn unites, substitutes or freezes something that was free
            left, right = self.resolve(one), self.resolve(two)
            differing = left != right
            if not differing.any():
                return
            pairs = np.unique(np.stack([left[differing], right[differing]]), axis=1)
            fixed = pairs[:, (pairs == 0).any(axis=0)]
            plain = pairs[:, (pairs > 0).all(axis=0)]
            if fixed.size:
                self._freeze_opposite(one, two, fixed.sum(axis=0), reason)
            elif plain.size:
                for a, b in plain.T:
                    self._unite_atoms(int(a), int(b))
            else:
                self._unite_sets(left[differing], right[differing], reason)

    def split(self, vector: Vector, table: npt.NDArray[np.int64], family: str, reason: str) -> list[Vector]:
        """The axes of a grid whose element at a position is the unit `table[position]` of an axis.

        Positions along an axis with equal slabs are one unit. Sets that follow one axis of the grid go to it; what is
        left becomes atoms of each axis, of which the units are then made.
        """
        whole = self.resolve(vector)[table]
        firsts, backs = zip(*(_distinct(whole, axis) for axis in range(whole.ndim)), strict=True)
        grid = whole[np.ix_(*firsts)]
        shape = grid.shape
        axes: list[list[set[int]]] = [[set() for _ in range(size)] for size in shape]
        left = False
        for atom, places in self._occurrences(grid).items():
            hits = [np.unique(along) for along in np.unravel_index(places, shape)]
            # A set of places is whole slabs along an axis exactly when there are as many as the slabs hold.
            follows = [a for a, hit in enumerate(hits) if len(hit) * (grid.size // shape[a]) == len(places)]
            left = left or not follows
            for position in hits[follows[0]] if follows else ():
                axes[follows[0]][position].add(atom)
        found = [np.asarray([self._handle(tuple(unit)) for unit in units], np.int64) for units in axes]
        if left:
            made = [self.fresh(f"{family}:{axis}", size)[firsts[axis]] for axis, size in enumerate(whole.shape)]
            found = [self.join(old, new) if len(old) > 1 else old for old, new in zip(found, made, strict=True)]
            self.unite(grid.reshape(-1), self.grid(found), reason)
        return [side[back] for side, back in zip(found, backs, strict=True)]

    def grid(self, axes: Sequence[Vector]) -> Vector:
        """The merged axis of several, the last one running fastest."""
        shape = tuple(len(axis) for axis in axes)
        spread = [
            np.broadcast_to(axis.reshape([-1 if a == i else 1 for a in range(len(axes))]), shape).reshape(-1)
            for i, axis in enumerate(axes)
        ]
        return self.join(*spread)

    def members(self) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """One more than the last atom, the atoms of every set end to end, and where each set begins."""
        sizes = np.asarray([0, *map(len, self._sets)], np.int64)
        flat = np.asarray([atom for unit in self._sets for atom in unit], np.int64)
        return len(self._stands_for), flat, np.cumsum(sizes)[:-1]

    def emptying(self, vector: Vector) -> tuple[int, ...]:
        """The atoms that every unit of an axis shares: without any one of them nothing would be left."""
        handles = np.unique(self.resolve(vector, raw=True))
        common: set[int] | None = None
        for handle in handles:
            atoms = set(self.atoms(int(handle), raw=True))
            common = atoms if common is None else common & atoms
            if not common:
                return _NOTHING
        return tuple(sorted(common or ()))

    def _occurrences(self, grid: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.int64]]:
        """The places in a grid of canonical handles, counted flat, at which each atom occurs."""
        found: dict[int, list[npt.NDArray[np.int64]]] = defaultdict(list)
        for handle, places in _positions(grid.reshape(-1)).items():
            for atom in self.atoms(handle):
                found[atom].append(places)
        return {atom: np.concatenate(places) for atom, places in found.items()}

    def _freeze_opposite(self, one: Vector, two: Vector, units: Vector, reason: str) -> None:
        """Freeze units that stand opposite frozen ones, for the same reason as those."""
        told: dict[int, str] = {}
        for mine, other in ((one, two), (two, one)):
            pairs = np.unique(np.stack([self.resolve(mine), self.resolve(other, raw=True)]), axis=1)
            for handle, opposite in pairs[:, pairs[0] != 0].T:
                reasons = (self.reason(atom) for atom in self.atoms(int(opposite), raw=True))
                told.update({int(handle): why for why in reasons if why is not None})
        for unit in units:
            self.freeze(np.asarray([unit]), told.get(int(unit), reason))

    def _unite_sets(self, left: Vector, right: Vector, reason: str) -> None:
        """Equations between sets: let an atom stand for the other side, or unite atoms that occur at the same places.

        Where neither is possible, atoms without a counterpart are frozen, then those that occur at the most places:
        of a group and a channel in every group the group is given up first.
        """
        ours: dict[int, list[int]] = defaultdict(list)
        theirs: dict[int, list[int]] = defaultdict(list)
        sides: list[tuple[set[int], set[int]]] = []
        for place, (a, b) in enumerate(zip(left, right, strict=True)):
            one, two = set(self.atoms(int(a))), set(self.atoms(int(b)))
            sides.append((one - two, two - one))
            for atom in one - two:
                ours[atom].append(place)
            for atom in two - one:
                theirs[atom].append(place)
        if self._substitute(ours, sides) or self._substitute(theirs, [(b, a) for a, b in sides]):
            return
        places = {tuple(where): atom for atom, where in theirs.items()}
        matched = {atom: places[key] for atom, where in ours.items() if (key := tuple(where)) in places}
        for atom, other in matched.items():
            self._unite_atoms(atom, other)
        if matched:
            return
        given_up = {atom for one, two in sides if not one or not two for atom in one | two}
        if not given_up:
            most = max(map(len, (*ours.values(), *theirs.values())))
            given_up = {atom for known in (ours, theirs) for atom, where in known.items() if len(where) == most}
        for atom in sorted(given_up):
            self._freeze_atom(atom, reason)

    def _substitute(self, mine: dict[int, list[int]], sides: Sequence[tuple[set[int], set[int]]]) -> bool:
        """Let each atom that is alone on its side, opposite the same set everywhere, stand for that set."""
        done = False
        for atom, where in mine.items():
            opposite = {frozenset(sides[place][1]) for place in where}
            if len(opposite) != 1 or not all(opposite) or any(len(sides[place][0]) != 1 for place in where):
                continue
            handle = self._handle(tuple(next(iter(opposite))))
            root = self._canonical(atom, False)
            if root <= 0 or root in self.atoms(handle, raw=True):
                continue
            self._stands_for[root] = handle
            self._changed()
            done = True
        return done

    def _unite_atoms(self, one: int, two: int) -> None:
        """Two free atoms become the same."""
        one, two = self._canonical(one, False), self._canonical(two, False)
        if one != two:
            self._stands_for[max(one, two)] = min(one, two)
            self._changed()

    def _freeze_atom(self, atom: int, reason: str) -> None:
        for root in self.atoms(atom):
            self._frozen.setdefault(root, reason)
        self._changed()

    def _changed(self) -> None:
        self._known.clear()
        self._known_raw.clear()

    def _handle(self, atoms: tuple[int, ...]) -> int:
        key = tuple(sorted(set(atoms)))
        if len(key) == 1:
            return key[0]
        if key not in self._handles:
            self._sets.append(key)
            self._handles[key] = -len(self._sets)
        return self._handles[key]

    def _canonical(self, handle: int, raw: bool) -> int:
        known = self._known_raw if raw else self._known
        if (found := known.get(handle)) is not None:
            return found
        if handle > 0:
            target = self._stands_for[handle]
            if target == handle:
                result = 0 if not raw and handle in self._frozen else handle
            else:
                result = self._canonical(target, raw)
                self._stands_for[handle] = self._canonical(target, True)
        elif handle < 0:
            parts: list[int] = []
            for atom in self._sets[-handle - 1]:
                inner = self._canonical(atom, raw)
                parts.extend(self._sets[-inner - 1] if inner < 0 else (inner,) if inner else ())
            result = self._handle(tuple(parts))
        else:
            result = 0
        known[handle] = result
        return result


def _positions(values: Vector) -> dict[int, npt.NDArray[np.int64]]:
    """Where each distinct value other than 0 stands."""
    order = np.argsort(values, kind="stable")
    distinct, starts = np.unique(values[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(value): part for value, part in zip(distinct, parts, strict=True) if value}


def _distinct(grid: npt.NDArray[np.int64], axis: int) -> tuple[Vector, Vector]:
    """The first position of each different slab along an axis, and by position which of those it is like."""
    slabs = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
    _, first, back = np.unique(slabs, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[back.reshape(-1)]
