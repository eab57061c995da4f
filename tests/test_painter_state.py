"The state of the mask painter against a naive one, which keeps whole masks."
import base64
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgan_nb.core.pixels import IGNORE
from scgan_nb.widgets.state import MaskState, pack, unpack

pytestmark = pytest.mark.library
CLASSES = ["a", "b", "c"]
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
ids = st.sampled_from([0, 1, 2, IGNORE])


def masks(size):
    return st.lists(ids, min_size=size[0]*size[1], max_size=size[0]*size[1]).map(
        lambda v: np.array(v, np.uint8).reshape(size))


def inside(size): return st.tuples(st.integers(0, size[0] - 1), st.integers(0, size[1] - 1))


@st.composite
def changes(draw, size):
    "One call of a tool."
    points = st.lists(st.tuples(*[st.floats(-3, n + 3) for n in size]), min_size=1, max_size=4)
    kind = draw(st.sampled_from(["brush", "erase", "fill", "replace", "patch", "reset", "load", "undo", "redo"]))
    if kind in ("brush", "erase"):
        stroke = draw(st.sampled_from([None, 1, 2]))
        return (kind, draw(points), *([draw(ids)] if kind == "brush" else []), draw(st.floats(0, 4)), stroke)
    if kind == "fill": return (kind, *draw(inside(size)), draw(ids))
    if kind == "replace": return kind, draw(ids), draw(ids)
    if kind == "load": return kind, draw(masks(size))
    if kind == "patch":
        top, left = draw(inside(size))
        h, w = draw(st.integers(1, size[0] - top)), draw(st.integers(1, size[1] - left))
        return kind, top, left, draw(masks((h, w))), draw(st.sampled_from([None, 1, 2]))
    return (kind,)


class Naive:
    "Pixel after pixel, and a copy of both masks before each step."
    def __init__(self, mask):
        self.mask, self.loaded = mask.copy(), mask.copy()
        self.done, self.undone = [], []

    def step(self, new, stroke=None, loaded=None):
        loaded = self.loaded if loaded is None else loaded
        if (new == self.mask).all() and (loaded == self.loaded).all(): return
        if stroke is None or not self.done or self.done[-1][2] != stroke:
            self.done.append([self.mask, self.loaded, stroke])
        self.mask, self.loaded, self.undone = new, loaded, []

    def covered(self, points, radius):
        p = np.floor(np.array(points) + 0.5) if radius < 0.75 else np.array(points, float)
        radius = 0.5 if radius < 0.75 else radius
        new = np.zeros(self.mask.shape, bool)
        for a, b in zip(p, p[1:] if len(p) > 1 else p):
            for at in np.ndindex(new.shape):
                d, q = b - a, np.array(at) - a
                t = min(1, max(0, q @ d/max(d @ d, 1e-12)))
                new[at] |= ((q - t*d)**2).sum() <= radius**2
        return new

    def brush(self, points, which, radius, stroke):
        self.step(np.where(self.covered(points, radius), np.uint8(which), self.mask), stroke)

    def erase(self, points, radius, stroke):
        self.step(np.where(self.covered(points, radius), self.loaded, self.mask), stroke)

    def fill(self, y, x, which):
        new, old, todo = self.mask.copy(), self.mask[y, x], [(y, x)]
        while todo and old != which:
            y, x = todo.pop()
            if 0 <= y < new.shape[0] and 0 <= x < new.shape[1] and new[y, x] == old:
                new[y, x] = which
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        self.step(new)

    def replace(self, old, new): self.step(np.where(self.mask == old, np.uint8(new), self.mask))

    def patch(self, top, left, ids, stroke):
        new = self.mask.copy(); new[top:top + ids.shape[0], left:left + ids.shape[1]] = ids
        self.step(new, stroke)

    def reset(self): self.step(self.loaded.copy())

    def load(self, mask): self.step(mask.copy(), loaded=mask.copy())

    def undo(self): self.go(self.done, self.undone)

    def redo(self): self.go(self.undone, self.done)

    def go(self, source, target):
        if not source: return
        target.append([self.mask, self.loaded, None])
        self.mask, self.loaded, _ = source.pop()


@settings(max_examples=150)
@given(st.data())
def test_any_evening(data):
    "Every mask on the way is the naive one; undo leads to the start, redo to the end, and views miss nothing."
    size = data.draw(sizes, label="size")
    start = data.draw(masks(size), label="start")
    state, naive, view = MaskState(start, CLASSES), Naive(start), start.copy()
    for name, *args in data.draw(st.lists(changes(size), max_size=10), label="changes"):
        version = state.version
        getattr(state, name)(*args) # the names come from `changes`
        getattr(naive, name)(*args) # and are those of the naive one
        for y, x, h, w in state.changed(version): view[y:y + h, x:x + w] = state.ids[y:y + h, x:x + w]
        for mine in (state.ids, view): np.testing.assert_array_equal(mine, naive.mask)
        np.testing.assert_array_equal(state.loaded.numpy(), naive.loaded)
        assert (state.undos, state.redos) == (len(naive.done), len(naive.undone))
    end, n, version = state.mask, state.undos, state.version
    other = MaskState(np.zeros(size, int), CLASSES)
    other.restore(json.loads(json.dumps(state.settings())))
    assert torch.equal(other.mask, end) and torch.equal(other.loaded, state.loaded)
    while state.undo() is not None: pass
    np.testing.assert_array_equal(state.ids, start); np.testing.assert_array_equal(state.loaded.numpy(), start)
    for _ in range(n): state.redo()
    assert torch.equal(state.mask, end)


@given(st.data())
def test_runs(data):
    "Runs are exact, and only the changed pixels are written."
    size = data.draw(sizes); old, new = data.draw(masks(size)), data.draw(masks(size))
    np.testing.assert_array_equal(unpack(pack(new), old), new)
    np.testing.assert_array_equal(unpack(pack(new, new != old), old), new)


@given(st.binary(max_size=30))
def test_strange_runs(data):
    "Bytes of a stranger are runs of these pixels, or are refused."
    try: new = unpack(data, np.zeros((4, 5), np.uint8))
    except ValueError as e: assert "damaged runs" in str(e)
    else: assert new.shape == (4, 5)


@given(st.one_of(st.none(), st.text(max_size=20), st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode())),
       st.sampled_from(["mask", "loaded", "classes"]))
def test_strange_settings(value, key):
    "Settings that somebody edited are refused by name, and change nothing."
    state = MaskState(np.ones((3, 4), int), CLASSES)
    try: state.restore(state.settings() | {key: value})
    except ValueError as e: assert any(w in str(e) for w in ("is no mask", "classes", "class id"))
    else: assert key in ("mask", "loaded")


def test_memory_is_bounded():
    "The oldest steps go first, the newest stays whatever its size."
    rng = np.random.default_rng(0)
    state = MaskState(rng.integers(0, 3, (64, 64)), CLASSES, memory=5000)
    for _ in range(50):
        state.load(rng.integers(0, 3, (64, 64)))
        assert state.undos >= 1
    assert state.undos <= 3
    before = state.mask
    assert state.undo() is not None and not torch.equal(state.mask, before)
