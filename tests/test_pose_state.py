"The state of the pose editor against a naive one, and what a browser may send."
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgan_nb.core.show import SKELETON
from scgan_nb.datasets.labels import POSE18_SWAPS
from scgan_nb.widgets.pose_state import PARENT, ROOT, PoseState, fitted, hanging

pytestmark = pytest.mark.library
NAN = float("nan")
same = lambda a, b: torch.equal(a.nan_to_num(-7e9), b.nan_to_num(-7e9))
numbers = st.floats(0, 40, width=32)
places = st.one_of(st.just([NAN, NAN]), st.lists(numbers, min_size=2, max_size=2))
poses = st.lists(places, min_size=18, max_size=18).map(torch.tensor)
joints, strokes = st.integers(0, 17), st.sampled_from([None, 1, 2])


@st.composite
def changes(draw):
    "One call."
    name = draw(st.sampled_from(["drag", "place", "hide", "bring", "mirror", "reset", "load", "undo", "redo",
                                 "restore"]))
    if name == "drag":
        return name, draw(joints), *(draw(st.floats(-9, 60)) for _ in "yx"), draw(st.booleans()), draw(strokes)
    if name == "place":
        which = draw(st.lists(joints, max_size=4, unique=True))
        return name, which, torch.tensor([draw(places) for _ in which]).reshape(-1, 2), draw(strokes)
    if name in ("hide", "bring"): return name, draw(joints)
    if name in ("load", "restore"): return name, draw(poses)
    return (name,)


class Naive:
    "All poses, and a place among them."
    def __init__(self, pose): self.all, self.at, self.stroke, self.loaded = [pose], 0, None, pose

    def to(self, pose, stroke=None):
        if same(pose, self.all[self.at]): return
        if stroke is None or stroke != self.stroke or not self.at: self.at += 1
        self.all, self.stroke = [*self.all[:self.at], pose], stroke

    def go(self, by):
        if 0 <= self.at + by < len(self.all): self.at, self.stroke = self.at + by, None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_evening(data):
    "Every pose on the way is the naive one; undo leads to the start, redo to the end; a refused call changes nothing."
    start = data.draw(poses, label="start")
    state, naive, told = PoseState(start, (30, 40)), Naive(start), []
    state.on_change(lambda: told.append(state.version))
    for name, *args in data.draw(st.lists(changes(), max_size=12), label="changes"):
        before, versions = state.pose, len(told)
        if name == "restore": args = [json.loads(json.dumps(PoseState(args[0], (30, 40)).as_json()))]
        try: getattr(state, name)(*args) # the names come from `changes`
        except ValueError as e:
            assert name == "drag" and before[args[0]].isnan().any() and "is not visible" in str(e)
            assert same(state.pose, before); continue
        if name == "load": naive.loaded = args[0]
        if name in ("undo", "redo"): naive.go(dict(undo=-1, redo=1)[name])
        else: naive.to(state.pose, args[-1] if name in ("drag", "place") else None)
        assert same(state.pose, naive.all[naive.at])
        assert (state.undos, state.redos) == (naive.at, len(naive.all) - 1 - naive.at)
        assert len(told) - versions == (not same(before, state.pose)), "everybody is told once, of changes only"
    end, n = state.pose, state.undos
    other = PoseState(torch.full((18, 2), NAN), (30, 40)); other.restore(json.loads(json.dumps(state.as_json())))
    assert same(other.pose, end)
    for _ in range(n): state.undo()
    assert same(state.pose, start)
    for _ in range(n): state.redo()
    assert same(state.pose, end)
    state.reset(); assert same(state.pose, naive.loaded)


@settings(deadline=None)
@given(poses, joints, numbers, numbers)
def test_a_rigid_drag(pose, joint, y, x):
    "Visible limbs keep their lengths, apart from that whose parent is missing; nothing else moves."
    state = PoseState(pose, (41, 41))
    if pose[joint].isnan().any(): return
    state.drag(joint, y, x, rigid=True)
    length = lambda p: torch.stack([(p[b] - p[a]).norm() for a, b in SKELETON])
    torch.testing.assert_close(length(state.pose), length(pose), atol=1e-3, rtol=1e-3, equal_nan=True)
    still = [j for j in range(18) if j not in (joint, *hanging(joint))]
    assert same(state.pose[still], pose[still])
    assert joint == ROOT or pose[PARENT[joint]].isnan().any() or state.pose[joint].isfinite().all()


@given(poses)
def test_a_mirror_twice(pose):
    state = PoseState(pose, (41, 41))
    state.mirror()
    for a, b in POSE18_SWAPS: assert same(state.pose[a, 0], pose[b, 0])
    state.mirror()
    torch.testing.assert_close(state.pose, pose, equal_nan=True)


@given(poses, st.integers(1, 300), st.integers(1, 300))
def test_a_pose_of_another_image_is_enlarged_as_a_whole(pose, h, w):
    new, scale = fitted(pose, (41, 41), (h, w)), min(h, w)/41
    torch.testing.assert_close(new[0] - new[1], (pose[0] - pose[1])*scale, atol=1e-3, rtol=1e-3, equal_nan=True)
    inside = ((new >= -.51) & (new <= torch.tensor([h, w]) - .49)) | new.isnan()
    assert inside.all()
