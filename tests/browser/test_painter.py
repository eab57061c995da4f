"""The mask painter in JupyterLab and Notebook, painted with mouse, touch and keys. All tests share one notebook and
go on where the one before ended."""
import ast
import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from tests.browser.lab import Page

pytestmark = pytest.mark.xdist_group("browser")
SETUP = """
import time, numpy as np
from scgan_nb.worlds.faces import Faces
from scgan_nb.widgets.mask_painter import MaskPainter
from scgan_nb.widgets.state import MaskState
faces = Faces(64, labels="portrait10")
state = MaskState(faces[3]["mask"], faces.classes, faces.palette)
log, heard = [], []"""
PAINTER = """
painter = MaskPainter(state, brush=6, overlay=faces[3]["image"])
painter.on_msg(lambda p, content, buffers: log.append((content, [len(b) for b in buffers])))
painter.on_paint(lambda p: heard.append(p.state.version))
painter"""
CELLS = len([SETUP, PAINTER, "painter"])
RUN = "() => window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => null)"
RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel().then(() => null)"
AGAIN = """() => {
  window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1
  return window.jupyterapp.commands.execute('notebook:run-cell').then(() => null)
}"""
ASK = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
  const request = kernel.requestExecute({ code: "", silent: true, user_expressions: { x: `repr(${code})` } })
  const answer = (await request.done).content.user_expressions.x
  return answer.status === "ok" ? answer.data["text/plain"] : `!${answer.ename}: ${answer.evalue}`
}"""


class Sheet(Page):
    "A notebook whose kernel can be asked."
    def python(self, code):
        "The value of an expression in the kernel if it is a literal, else its repr."
        text = self.page.evaluate(ASK, code)
        assert not text.startswith("!"), text
        text = ast.literal_eval(text)
        try: return ast.literal_eval(text)
        except (ValueError, SyntaxError): return text

    def until(self, code, seconds=10):
        "Wait until an expression in the kernel is true."
        end = time.monotonic() + seconds
        while not (value := self.python(code)):
            assert time.monotonic() < end, f"{code} is {value!r} after {seconds} s"
            time.sleep(0.05)
        return value


class Hand:
    "Works on the first view of the painter, in pixels of the mask."
    def __init__(self, sheet, view=0):
        self.sheet, self.page = sheet, sheet.page
        self.root = self.page.locator(".scgan-painter").nth(view)
        self.canvas = self.root.locator(".sg-canvas")
        self.canvas.wait_for(timeout=20_000)
        self.canvas.scroll_into_view_if_needed()

    def at(self, y, x):
        b = self.canvas.bounding_box()
        return b["x"] + (x + 0.5)*b["width"]/64, b["y"] + (y + 0.5)*b["height"]/64

    def drag(self, *points):
        mouse = self.page.mouse
        mouse.move(*self.at(*points[0])); mouse.down()
        for p in points[1:]: mouse.move(*self.at(*p), steps=5)
        mouse.up()

    def click(self, y, x): self.page.mouse.click(*self.at(y, x))

    def press(self, label): self.root.get_by_label(label).click()

    def choose(self, name): self.root.get_by_role("radio", name=f"class {name}", exact=True).click()

    def says(self): return self.root.locator(".sg-live").inner_text()

    def problem(self):
        bar = self.root.locator(".sg-problem")
        return bar.inner_text() if bar.is_visible() else ""

    def pixels(self):
        data = self.canvas.evaluate("c => c.toDataURL()").split(",")[1]
        return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)

    def ids(self):
        "What the canvas shows, as class ids."
        palette = np.array(self.sheet.python("state.palette.tolist()"))
        return (self.pixels()[:, :, None] == palette).all(-1).argmax(-1)


def mask(sheet): return np.array(sheet.python("state.mask.tolist()"))


def settled(sheet, code="True"):
    "Wait until the kernel has everything: nothing has come for a while."
    sheet.until(code)
    while (n := sheet.python("len(log)")) is not None:
        time.sleep(0.12)
        if sheet.python("len(log)") == n: return


@pytest.fixture(scope="module")
def sheet(server, browser):
    sheet = Sheet(server, browser, "painter.ipynb", [SETUP, PAINTER, "painter"], height=1100)
    sheet.page.evaluate(RUN)
    yield sheet
    sheet.close()


@pytest.fixture
def hand(sheet):
    "The mask as loaded, a brush of 6 pixels, an empty log; afterwards the console must be empty."
    hand = Hand(sheet)
    sheet.python("(state.reset(), setattr(painter, 'tool', 'brush'), setattr(painter, 'brush', 6), "
                 "setattr(painter, 'chosen', 7), setattr(painter, 'message', ''), log.clear(), heard.clear())")
    sheet.page.wait_for_function("() => document.querySelector('.sg-size-text').textContent === '6 px'")
    yield hand
    assert sheet.faults() == []


def test_a_stroke_of_the_mouse(sheet, hand):
    "It is what `brush` paints in Python, one step of undo, and costs few bytes."
    points, undos = [(10, 8), (26, 30), (14, 54), (50, 60)], sheet.python("state.undos")
    hand.drag(*points)
    settled(sheet, "heard")
    sheet.python("globals().update(other=MaskState(state.loaded, faces.classes))")
    sheet.python(f"other.brush({points}, 7, 3)")
    # the browser rounds coordinates of the mouse to fractions of a pixel
    assert sheet.python("int((other.mask != state.mask).sum())") <= 6
    assert sheet.python("state.undos") == undos + 1
    assert hand.says() == "hat painted, undo possible"
    sizes = sheet.python("[sum(b) for c, b in log]")
    assert len(sizes) > 1 and max(sizes) < 300
    np.testing.assert_array_equal(hand.ids(), mask(sheet))


def test_undo_and_redo(sheet, hand):
    before = mask(sheet)
    hand.drag((20, 20), (40, 40)); settled(sheet, "heard")
    after = mask(sheet)
    assert (before != after).any()
    hand.press("undo (Ctrl+Z)"); settled(sheet)
    np.testing.assert_array_equal(mask(sheet), before); np.testing.assert_array_equal(hand.ids(), before)
    hand.canvas.focus(); hand.page.keyboard.press("Control+Shift+Z"); settled(sheet)
    np.testing.assert_array_equal(mask(sheet), after); np.testing.assert_array_equal(hand.ids(), after)
    hand.page.keyboard.press("Control+Z"); settled(sheet)
    np.testing.assert_array_equal(hand.ids(), before)


def test_keys(sheet, hand):
    "Arrows move, space paints while it is held, letters choose; the notebook hears nothing."
    keyboard = hand.page.keyboard
    hand.canvas.focus()
    for key in "[[[[[[[[": keyboard.press(key)
    keyboard.press("9")
    keyboard.down(" ")
    for _ in range(10): keyboard.press("ArrowRight")
    keyboard.up(" ")
    settled(sheet, "heard")
    now, was = mask(sheet), np.array(sheet.python("state.loaded.tolist()"))
    row, columns = np.nonzero(now != was)
    assert set(row) == {32} and set(columns) <= set(range(32, 43)) and len(columns) > 5
    assert (now[now != was] == 9).all()
    keyboard.press("ArrowLeft"); assert hand.says() == "column 41, row 32: cloth"
    for key in "efi": keyboard.press(key)
    sheet.until("painter.tool == 'pick'")
    keyboard.press("n"); keyboard.press("n"); sheet.until("painter.chosen == 1")
    keyboard.press("p"); sheet.until("painter.chosen == 0")
    for key in "bxaddmy": keyboard.press(key) # commands of the notebook: insert, cut, remove...
    assert hand.page.locator(".jp-Notebook .jp-CodeCell").count() == CELLS
    keyboard.press("b"); sheet.until("painter.tool == 'brush'")


def test_fill_pick_eraser(sheet, hand):
    hand.choose("cloth"); hand.page.keyboard.press("f")
    hand.click(1, 1); settled(sheet, "state.pick(0, 0) == 9")
    assert hand.says() == "filled with cloth, undo possible"
    np.testing.assert_array_equal(hand.ids(), mask(sheet))
    hand.press("pick: ")
    hand.click(35, 30); sheet.until(f"painter.chosen == {mask(sheet)[35, 30]}")
    hand.press("eraser: ")
    hand.drag((1, 1), (1, 30)); settled(sheet, "state.pick(1, 10) == state.loaded[1, 10]")
    assert sheet.python("state.pick(30, 1)") == 9
    hand.page.keyboard.down("Alt"); hand.click(30, 1); hand.page.keyboard.up("Alt") # picks whatever the tool is
    sheet.until("painter.chosen == 9")


def test_touch(sheet, hand):
    finger = hand.page.context.new_cdp_session(hand.page)
    def touch(kind, *point):
        points = [dict(zip(("x", "y"), hand.at(*point)))] if point else []
        finger.send("Input.dispatchTouchEvent", dict(type=kind, touchPoints=points))
    touch("touchStart", 12, 12)
    for k in range(13, 50, 3): touch("touchMove", k, k)
    touch("touchEnd")
    settled(sheet, "heard")
    now = mask(sheet)
    assert all(now[k, k] == 7 for k in range(12, 46))
    assert len(set(sheet.python("[o['stroke'] for c, b in log for o in c['ops']]"))) == 1


def test_a_slow_listener_gets_the_newest(sheet, hand):
    "Nothing piles up while a network computes, and the last change arrives."
    sheet.python("globals().update(stop=painter.on_paint(lambda p: time.sleep(.25)))")
    start = time.monotonic()
    hand.drag(*[(10 + k % 2*40, 4 + k*4) for k in range(15)])
    for y, x in ((2, 2), (2, 60)): hand.click(y, x) # two more strokes meanwhile
    painted = hand.ids()
    settled(sheet, "state.pick(2, 60) == 7")
    np.testing.assert_array_equal(mask(sheet), painted)
    assert sheet.python("len(heard)") <= (time.monotonic() - start)/0.25 + 1
    sheet.python("(stop(), state.undo(), state.undo(), state.undo())")
    np.testing.assert_array_equal(mask(sheet), np.array(sheet.python("state.loaded.tolist()")))


def test_a_file(sheet, hand, tmp_path):
    ids = np.array(sheet.python("faces[5]['mask'].tolist()"), np.uint8)
    Image.fromarray(ids).save(tmp_path/"five.png")
    Image.fromarray(ids[:32, :32]).save(tmp_path/"small.png")
    (tmp_path/"text.png").write_text("no picture")
    choose = hand.root.locator("input[type=file]").set_input_files
    choose(tmp_path/"five.png"); settled(sheet, "heard")
    np.testing.assert_array_equal(mask(sheet), ids); np.testing.assert_array_equal(hand.ids(), ids)
    choose(tmp_path/"text.png"); hand.root.get_by_text("text.png: cannot be read").wait_for()
    choose(tmp_path/"small.png"); hand.root.get_by_text("32 x 32 pixels, but the mask has 64 x 64").wait_for()
    np.testing.assert_array_equal(mask(sheet), ids)
    hand.root.get_by_text("Resize to 64 x 64").click()
    settled(sheet, "state.pick(63, 63) == int(faces[5]['mask'][31, 31])")
    assert hand.problem() == ""
    np.testing.assert_array_equal(mask(sheet), ids[:32, :32].repeat(2, 0).repeat(2, 1))
    hand.page.keyboard.press("Control+Z"); hand.canvas.focus()
    for _ in range(2): hand.page.keyboard.press("Control+Z"); settled(sheet)
    hand.choose("hair"); hand.drag((40, 5), (40, 50)); settled(sheet)
    hand.press("back to the mask that was loaded"); settled(sheet)
    np.testing.assert_array_equal(hand.ids(), np.array(sheet.python("state.loaded.tolist()")))


def test_a_listener_that_fails(sheet, hand):
    sheet.python("globals().update(stop=painter.on_paint(lambda p: p.nonsense))")
    hand.drag((20, 20), (30, 30))
    hand.root.get_by_text("what listens to the painter failed: AttributeError").wait_for()
    sheet.python("stop()")
    hand.drag((40, 20), (50, 30)); settled(sheet)
    assert hand.problem() == ""


def test_two_views_and_python_are_in_step(sheet, hand):
    second = Hand(sheet, view=1)
    second.drag((8, 8), (50, 20)); settled(sheet, "heard")
    np.testing.assert_array_equal(second.ids(), mask(sheet))
    np.testing.assert_array_equal(hand.ids(), mask(sheet))
    second.choose("nose")
    assert hand.root.get_by_role("radio", name="class nose").get_attribute("aria-checked") == "true"
    sheet.python("state.fill(0, 0, 'neck')")
    hand.page.wait_for_function("() => document.querySelector('.sg-canvas').getContext('2d')"
                                ".getImageData(0, 0, 1, 1).data[0] === 214")
    np.testing.assert_array_equal(second.ids(), mask(sheet))


def test_a_cell_run_again_leaves_no_listener(sheet, hand):
    for _ in range(10):
        sheet.page.evaluate(AGAIN)
    sheet.page.evaluate(AGAIN.replace("= 1", "= 2")) # else this cell shows a painter that is gone
    sheet.until("len(state._listeners) == 1")
    Hand(sheet).drag((8, 8), (50, 20)); settled(sheet, "heard")
    assert sheet.python("len(heard)") <= sheet.python("len(log)")


def test_the_page_is_loaded_again(sheet, hand):
    hand.choose("hair"); hand.drag((8, 8), (50, 20)); settled(sheet, "heard")
    hand.page.keyboard.press("e"); sheet.until("painter.tool == 'eraser'")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    sheet.open()
    again = Hand(sheet)
    np.testing.assert_array_equal(again.ids(), mask(sheet))
    assert again.root.get_by_role("radio", name="class hair").get_attribute("aria-checked") == "true"
    assert again.root.get_by_label("eraser: ").get_attribute("aria-pressed") == "true"
    again.press("undo (Ctrl+Z)"); settled(sheet)
    np.testing.assert_array_equal(again.ids(), mask(sheet))


def test_a_kernel_that_restarts(sheet):
    "The widget says what happened, and painting goes on; a cell that is run again brings a painter that lives."
    hand = Hand(sheet)
    sheet.page.evaluate(RESTART)
    hand.canvas.focus(); hand.page.keyboard.press("b")
    hand.drag((5, 5), (60, 60))
    hand.root.get_by_text("The kernel was restarted or has ended").wait_for(timeout=10_000)
    hand.page.keyboard.press("Control+Z"); hand.drag((5, 60), (60, 5))
    sheet.shot("painter_restarted")
    assert hand.says() == "hair painted, on this page only"
    painted = hand.pixels()
    sheet.page.evaluate(RUN)
    assert (painted != Hand(sheet).pixels()).any(-1).sum() > 300 # nothing of it reached the new kernel
    again = Hand(sheet); again.drag((5, 5), (60, 60)); settled(sheet, "heard")
    np.testing.assert_array_equal(again.ids(), mask(sheet))
    assert again.problem() == ""
    # JupyterLab may draw the old output once more before the cell has run, whose widget went with its kernel
    assert [fault for fault in sheet.faults() if "widget model not found" not in fault] == []


def test_notebook_seven(server, browser):
    "Everything fits into a small window, and nineteen classes too."
    pytest.importorskip("notebook", reason="Notebook 7 is not installed")
    cell = ("from scgan_nb.widgets.mask_painter import MaskPainter\nfrom scgan_nb.worlds.faces import Faces\n"
            "faces = Faces(128, labels='celebamask19')\n"
            "painter = MaskPainter(faces[3]['mask'], faces.classes, faces.palette)\nstate = painter.state\npainter")
    sheet = Sheet(server, browser, "seven.ipynb", [cell], width=900, height=900, app="notebooks")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
                        ".then(() => null)")
    sheet.page.evaluate(RUN)
    for width in (900, 390):
        sheet.page.set_viewport_size(dict(width=width, height=900))
        hand, version = Hand(sheet), sheet.python("state.version")
        hand.choose("hat"); hand.drag((10, 10 + width//30), (20, 40))
        sheet.until(f"state.version > {version}")
        wide = sheet.page.evaluate("() => [...document.querySelectorAll('.scgan-painter *')].filter(e => "
                                   "e.getBoundingClientRect().right > innerWidth + 1).length")
        assert wide == 0
        assert hand.root.get_by_role("radio").count() == 19
        sheet.shot(f"painter_{width}")
    own = ("reading 'schema'", "filebrowser:open-path") # of Notebook itself, with any notebook
    assert [e for e in sheet.faults() if not any(o in e for o in own)] == []
    sheet.close()
