"""The pose editor in JupyterLab, with mouse, touch and keys, and the studio of SCA-GAN around it. The tests of the
editor share one notebook and go on where the one before ended."""
import time

import numpy as np
import pytest

from tests.browser.lab import pixels
from tests.browser.test_painter import RESTART, RUN, Sheet, settled
from tests.browser.test_studio import settle

pytestmark = pytest.mark.xdist_group("browser")
SETUP = """
import json, time, torch
from scgan_nb.worlds.people import People
from scgan_nb.widgets.pose_editor import PoseEditor
from scgan_nb.widgets.pose_state import PoseState, rigid_drag
people = People((128, 96), seed=1)
state = PoseState(people[8]["target_pose"], (128, 96))
log, heard = [], []"""
EDITOR = """
editor = PoseEditor(state, picture=people[8]["target_image"], data=people)
editor.on_msg(lambda e, content, buffers: log.append((content, [len(b) for b in buffers])))
editor.on_pose(lambda e: heard.append(e.state.version))
editor"""
STUDIO = """
from scgan_nb.core.show import Picture
from scgan_nb.widgets.studio import studio
box = studio("sca_gan")
box"""
WRIST, ELBOW, SHOULDER = 4, 3, 2 # right


class Hand:
    "Works on one view of the editor, in pixels of the image."
    def __init__(self, sheet, view=0):
        self.sheet, self.page = sheet, sheet.page
        self.root = self.page.locator(".scgan-poser").nth(view)
        self.figure = self.root.locator(".sg-figure")
        self.figure.wait_for(timeout=60_000)
        self.figure.scroll_into_view_if_needed()

    def joint(self, j): return self.root.locator(f"[data-joint='{j}']")

    def at(self, y, x):
        "Of the page: the figure has a margin of 5 % of its longer side."
        b, m = self.figure.bounding_box(), .05*128
        scale = b["width"]/(96 + 2*m)
        return b["x"] + (x + .5 + m)*scale, b["y"] + (y + .5 + m)*scale

    def places(self):
        "What the page shows, (18, 2); NaN: hidden."
        found = self.root.locator(".sg-joint").evaluate_all(
            "all => all.map(g => g.hasAttribute('hidden') ? null : g.getAttribute('transform'))")
        return np.array([[np.nan]*2 if t is None else [float(v) - .5 for v in t[10:-1].split()][::-1] for t in found])

    def drag(self, j, *points, steps=5):
        mouse = self.page.mouse
        mouse.move(*self.at(*self.places()[j])); mouse.down()
        for p in points: mouse.move(*self.at(*p), steps=steps)
        mouse.up()

    def press(self, label): self.root.get_by_label(label).first.click()

    def says(self): return self.root.locator(".sg-live").inner_text()


def pose(sheet): return np.array([p or [np.nan]*2 for p in sheet.python("state.as_json()")])


def in_step(hand):
    np.testing.assert_allclose(hand.places(), pose(hand.sheet), atol=1e-3)


@pytest.fixture(scope="module")
def sheet(server, browser):
    sheet = Sheet(server, browser, "poser.ipynb", [SETUP, EDITOR, "editor"], height=1200)
    sheet.page.evaluate(RUN)
    yield sheet
    sheet.close()


@pytest.fixture
def hand(sheet):
    "The pose as loaded, limbs that keep their lengths, an empty log; afterwards the console must be empty."
    hand = Hand(sheet)
    sheet.until("editor")
    sheet.python("(state.load(people[8]), setattr(editor, 'rigid', True), setattr(editor, 'message', ''), log.clear(), "
                 "heard.clear())")
    settled(sheet)
    yield hand
    assert sheet.faults() == []


def test_a_drag_of_the_mouse(sheet, hand):
    "It is what `drag` does in Python, one step of undo, and costs few bytes."
    undos, before = sheet.python("state.undos"), pose(sheet)
    hand.drag(ELBOW, (30, 40), (25, 20))
    settled(sheet, "heard")
    expected = np.array(sheet.python(f"rigid_drag(torch.tensor({before.tolist()}), {ELBOW}, 25, 20).tolist()"))
    np.testing.assert_allclose(pose(sheet), expected, atol=.6) # the mouse goes in whole pixels of the screen
    in_step(hand)
    arm = (SHOULDER, ELBOW), (ELBOW, WRIST)
    lengths = [[np.linalg.norm(p[a] - p[b]) for a, b in arm] for p in (before, pose(sheet))]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    assert sheet.python("state.undos") == undos + 1
    assert hand.says() == "right elbow moved, undo possible"
    assert {tuple(o["joints"]) for c in sheet.python("[c['ops'] for c, b in log]") for o in c} == {(ELBOW, WRIST)}
    assert max(sheet.python("[sum(b) for c, b in log]")) == 16
    hand.press("undo (Ctrl+Z)"); settled(sheet)
    np.testing.assert_allclose(pose(sheet), before); in_step(hand)
    hand.press("redo"); settled(sheet); in_step(hand)


def test_unlocked_limbs_and_the_border(sheet, hand):
    before = pose(sheet)
    hand.press("limbs keep their lengths"); sheet.until("not editor.rigid")
    hand.drag(WRIST, (10, 10), (-30, -30)); settled(sheet, "heard")
    assert pose(sheet)[WRIST].tolist() == [0, 0]
    now = np.delete(pose(sheet), WRIST, 0)
    np.testing.assert_allclose(now, np.delete(before, WRIST, 0))
    in_step(hand)


def test_keys(sheet, hand):
    "Tab goes from joint to joint, arrows move, H hides; the notebook hears nothing."
    keyboard, before = hand.page.keyboard, pose(sheet)
    hand.joint(0).focus(); keyboard.press("l"); sheet.until("not editor.rigid")
    for _ in range(WRIST): keyboard.press("Tab")
    for _ in range(3): keyboard.press("ArrowRight")
    keyboard.press("Shift+ArrowUp"); settled(sheet, "heard")
    np.testing.assert_allclose(pose(sheet)[WRIST], before[WRIST] + [-8, 3], atol=1e-3)
    assert "right wrist: column" in hand.says()
    label = hand.joint(WRIST).get_attribute("aria-label")
    assert label == "right wrist, row {:.0f}, column {:.0f}".format(*(before[WRIST] + [-8, 3]))
    keyboard.press("h"); settled(sheet, "state.pose[4].isnan().all()")
    assert hand.root.locator(".sg-eye:focus").get_attribute("aria-label") == "right wrist visible"
    keyboard.press("Enter"); settled(sheet, "not state.pose[4].isnan().any()"); in_step(hand)
    for _ in range(3): keyboard.press("Control+z"); settled(sheet)
    np.testing.assert_allclose(pose(sheet), before); in_step(hand) # all arrows were one step
    cells = hand.page.locator(".jp-Notebook .jp-CodeCell").count()
    hand.joint(5).focus()
    for key in "bxaddy": keyboard.press(key) # commands of the notebook: insert, cut, remove...
    assert hand.page.locator(".jp-Notebook .jp-CodeCell").count() == cells == 3
    keyboard.press("m"); settled(sheet, "state.undos")
    np.testing.assert_allclose(pose(sheet)[2], [before[5][0], 95 - before[5][1]])


def test_touch(sheet, hand):
    finger, start = hand.page.context.new_cdp_session(hand.page), hand.places()[WRIST]
    def touch(kind, *point):
        points = [dict(zip(("x", "y"), hand.at(*point)))] if point else []
        finger.send("Input.dispatchTouchEvent", dict(type=kind, touchPoints=points))
    touch("touchStart", *start)
    for k in range(1, 8): touch("touchMove", start[0] - 3*k, start[1] + k)
    touch("touchEnd")
    settled(sheet, "heard")
    assert np.linalg.norm(pose(sheet)[WRIST] - start) > 5
    assert len(set(sheet.python("[o['stroke'] for c, b in log for o in c['ops']]"))) == 1
    in_step(hand)


def test_a_slow_listener_gets_the_newest(sheet, hand):
    "Nothing piles up while a network computes, and the last place arrives."
    sheet.python("globals().update(stop=editor.on_pose(lambda e: time.sleep(.25)))")
    start = time.monotonic()
    hand.drag(WRIST, *[(10 + k % 2*60, 4 + k*5) for k in range(15)])
    hand.drag(7, (60, 90)) # one more stroke meanwhile
    shown = hand.places()
    settled(sheet, "len(heard) > 1")
    np.testing.assert_allclose(pose(sheet), shown, atol=1e-3)
    assert sheet.python("len(heard)") <= (time.monotonic() - start)/0.25 + 1
    sheet.python("(stop(), state.undo(), state.undo())")
    settled(sheet); in_step(hand)


def test_samples_files_and_two_views(sheet, hand, tmp_path):
    second = Hand(sheet, view=1)
    hand.root.get_by_label("Load the pose of a sample").fill("5"); hand.page.keyboard.press("Enter")
    settled(sheet, "torch.equal(state.pose.nan_to_num(-1), people[5]['target_pose'].nan_to_num(-1))")
    in_step(hand); in_step(second)
    second.press("left elbow visible"); settled(sheet, "state.pose[6].isnan().all()"); in_step(hand)
    assert hand.root.get_by_label("left elbow visible").get_attribute("aria-checked") == "false"
    (tmp_path/"bad.json").write_text("{}")
    hand.root.locator("input[type=file]").set_input_files(tmp_path/"bad.json")
    hand.root.get_by_text("bad.json: no joints of OpenPose or COCO").wait_for()
    found = sheet.python("json.dumps([v if v == v else 0 for y, x in people[2]['target_pose'].tolist() "
                         "for v in (x, y, float(y == y))])")
    (tmp_path/"me.json").write_text(f'{{"people": [{{"pose_keypoints_2d": {found}}}]}}')
    hand.root.locator("input[type=file]").set_input_files(tmp_path/"me.json")
    settled(sheet, "torch.equal(state.pose.nan_to_num(-1), people[2]['target_pose'].nan_to_num(-1))")
    in_step(hand); in_step(second)
    hand.press("back to the pose that was loaded"); settled(sheet)
    sheet.python("state.drag('nose', 3., 4.)"); settled(sheet); in_step(second) # a change in Python
    sheet.python("editor.put_behind(None)")
    hand.page.wait_for_function("() => document.querySelector('.sg-behind').hidden")


def test_the_page_is_loaded_again(sheet, hand):
    hand.drag(WRIST, (20, 20)); settled(sheet, "heard")
    hand.press("limbs keep their lengths"); sheet.until("not editor.rigid")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    sheet.open()
    again = Hand(sheet); in_step(again)
    assert again.root.get_by_label("limbs keep their lengths").get_attribute("aria-pressed") == "false"
    again.press("undo (Ctrl+Z)"); settled(sheet); in_step(again)


def test_a_kernel_that_restarts(sheet):
    "The widget says what happened, and joints still move; a cell that is run again brings an editor that lives."
    hand = Hand(sheet)
    sheet.page.evaluate(RESTART)
    hand.drag(WRIST, (30, 30))
    hand.root.get_by_text("The kernel was restarted or has ended").wait_for(timeout=20_000)
    before = hand.places(); hand.drag(7, (40, 80)); assert not np.allclose(before, hand.places(), equal_nan=True)
    assert hand.says() == "left wrist moved, on this page only"
    sheet.page.evaluate(RUN)
    sheet.until("editor", 60)
    again = Hand(sheet); settled(sheet); in_step(again)
    again.drag(ELBOW, (30, 20)); settled(sheet, "heard"); in_step(again)
    assert [fault for fault in sheet.faults() if "widget model not found" not in fault] == []


@pytest.fixture(scope="module")
def studio(server, browser):
    sheet = Sheet(server, browser, "sca_gan.ipynb", [STUDIO], height=2000)
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area').then(() => null)")
    sheet.page.evaluate(RUN)
    sheet.page.wait_for_selector(".scgan-poser", timeout=120_000)
    settle(sheet)
    yield sheet
    sheet.close()


def test_the_person_moves(studio):
    "A drag changes the picture where the hand was and is, and undo brings it back to the last pixel."
    hand = Hand(studio)
    seen = lambda: pixels(studio.page).astype(int)
    studio.python("box.panels['pose'].state.load(box.data[8])"); settle(studio)
    before, start = seen(), hand.places()[WRIST].round().astype(int)
    hand.press("limbs keep their lengths"); hand.drag(WRIST, (20, 12)); settle(studio)
    after = seen()
    change = np.abs(after - before).mean(2)
    y, x = 20, 12
    new, old = (change[max(0, y - 8):y + 8, max(0, x - 8):x + 8].mean() for y, x in ((y, x), start))
    assert min(new, old) > 3*change.mean() > 0 # the hand is there, and no longer here
    assert min(new, old) > 10*change[100:, 60:].mean() # a foot stays where it was
    assert start.tolist() != [y, x]
    studio.shot("sca_gan_moved", ".jp-OutputArea-output")
    hand.press("undo (Ctrl+Z)"); settle(studio)
    assert np.array_equal(seen(), before)
    hand.press("redo"); settle(studio)
    assert np.array_equal(seen(), after)
    behind = pixels(studio.page, ".sg-behind")
    assert np.array_equal(behind, after) # the picture is behind the joints, too
    assert studio.faults() == []


def test_another_person_and_an_own_photograph(studio, tmp_path):
    before = pixels(studio.page)
    studio.page.locator("button", has_text="others").first.click()
    studio.page.get_by_role("button", name="9", exact=True).first.click()
    studio.until("box.panels['source'].value['image'] == 9"); settle(studio)
    assert not np.array_equal(pixels(studio.page), before)
    studio.python(f"Picture(box.data[40]['target_image']).save({str(tmp_path/'me.png')!r})")
    with studio.page.expect_file_chooser() as chooser: studio.page.locator("button", has_text="own photograph").click()
    chooser.value.set_files(tmp_path/"me.png")
    studio.until("box.panels['source'].value['pose']", 30)
    placing = Hand(studio, view=1); settle(studio)
    placing.drag(WRIST, (30, 30)); settle(studio)
    there = studio.python(f"box.panels['source'].value['pose'][{WRIST}]")
    np.testing.assert_allclose(there, placing.places()[WRIST], atol=1e-3)
    assert studio.page.locator("[role=alert]:visible").count() == 0 and studio.faults() == []
