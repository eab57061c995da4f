"Both studios in a real JupyterLab and a real Chromium: paint, turn, undo, save, load, reload, and a kernel that dies."
import json
import time

import numpy as np
import pytest

from tests.browser.lab import Page, pixels

pytestmark = pytest.mark.xdist_group("browser")
OPEN = "from scgan_nb.widgets.studio import studio\nbox = studio({!r})\nbox"
CANVAS = ".scgan-painter canvas"


@pytest.fixture(scope="module")
def studio(server, browser, request):
    "Both studios in one notebook."
    cells = [OPEN.format(name) for name in ("scgan", "semantic_composition")]
    page = Page(server, browser, "studio.ipynb", cells, height=2400)
    page.run_all()
    page.page.wait_for_function("document.querySelectorAll('.scgan-painter').length === 2", timeout=120_000)
    page.page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    settle(page)
    yield page
    page.close()


QUIET = """() => {
  const painters = [...document.querySelectorAll('.scgan-live')].map((p) => p.dataset)
  const now = [...document.querySelectorAll('img.scgan-picture, .scgan-picture img')].map((i) => i.src).join()
  if (now !== window.pictures) [window.pictures, window.since] = [now, performance.now()]
  return painters.every((d) => d.sent === undefined || d.answers === d.count) && performance.now() - window.since > 250
}"""


def settle(page):
    "Wait until every message has its answer and no picture has changed for a moment."
    page.page.evaluate("window.since = performance.now()")
    page.page.wait_for_function(QUIET, timeout=60_000, polling=20)


def seen(page, n): return pixels(page.page, n=n)


def stroke(page, n, points, steps=8):
    "Paint with the mouse; points are shares of the height and width of the mask."
    box = page.page.locator(f"{CANVAS}:first-child").nth(n).bounding_box()
    at = lambda y, x: (box["x"] + x*box["width"], box["y"] + y*box["height"])
    mouse = page.page.mouse
    mouse.move(*at(*points[0])); mouse.down()
    for p in points[1:]: mouse.move(*at(*p), steps=steps)
    mouse.up()
    settle(page)


def painter(page, n): return page.page.locator(".scgan-painter").nth(n)
def click(page, n, label): painter(page, n).get_by_label(label).first.click(); settle(page)
def mask(page, n): return page.page.evaluate("""n => {
  const c = document.querySelectorAll('.scgan-painter canvas:first-child')[n]
  return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]
}""", n)


def change(before, after): return np.abs(after - before).mean(2)


@pytest.mark.parametrize("n,paints,where,elsewhere", [
    (0, "class hat", (slice(0, 14), slice(16, 48)), (slice(54, 64), slice(0, 8))),
    (1, "class water", (slice(50, 62), slice(4, 30)), (slice(0, 12), slice(0, 64)))],
    ids=["scgan", "semantic_composition"])
def test_a_stroke_changes_its_region_and_undo_takes_it_back(studio, n, paints, where, elsewhere):
    before, other = seen(studio, n), seen(studio, 1 - n)
    first_mask = mask(studio, n)
    click(studio, n, paints)
    rows, cols = where
    y, a, b = (rows.start + rows.stop)/128, cols.start/64, cols.stop/64
    stroke(studio, n, [(y, a), (y, b)])
    after = seen(studio, n)
    assert change(before, after)[where].mean() > 4*change(before, after)[elsewhere].mean() + 1
    assert np.array_equal(seen(studio, 1 - n), other) # the other studio is not concerned
    studio.shot(f"studio_{n}_painted")
    click(studio, n, "undo")
    assert np.array_equal(seen(studio, n), before) and mask(studio, n) == first_mask
    click(studio, n, "redo")
    assert np.array_equal(seen(studio, n), after)
    click(studio, n, "undo")
    assert studio.faults() == []


def test_tools_and_keys(studio):
    before, page = mask(studio, 0), studio.page
    canvas = page.locator(f"{CANVAS}:first-child").first
    click(studio, 0, "class cloth")
    click(studio, 0, "fill: ")
    stroke(studio, 0, [(.02, .02)])
    filled = mask(studio, 0)
    assert filled != before and sum(a != b for a, b in zip(before, filled)) > 300
    click(studio, 0, "eraser: "); stroke(studio, 0, [(.02, .02), (.02, .9)])
    assert mask(studio, 0) not in (before, filled)
    click(studio, 0, "back to the mask"); assert mask(studio, 0) == before
    click(studio, 0, "pick: "); stroke(studio, 0, [(.5, .5)])
    assert "picked" in painter(studio, 0).locator(".sg-live").inner_text()
    cells = page.locator(".jp-Cell").count()
    canvas.focus()
    for key in ("b", "]", "n", "ArrowUp", "Shift+ArrowLeft", " "): page.keyboard.press(key) # B makes a cell in Lab
    settle(studio)
    assert mask(studio, 0) != before and page.locator(".jp-Cell").count() == cells
    page.keyboard.press("Control+z"); settle(studio)
    assert mask(studio, 0) == before
    assert studio.faults() == []


def test_touch(studio):
    before, page = mask(studio, 0), studio.page
    click(studio, 0, "class hair"); click(studio, 0, "brush: ")
    box = page.locator(f"{CANVAS}:first-child").first.bounding_box()
    tell = page.context.new_cdp_session(page).send
    at = lambda t: [dict(x=box["x"] + box["width"]*t, y=box["y"] + box["height"]*.9)]
    tell("Input.dispatchTouchEvent", dict(type="touchStart", touchPoints=at(.1)))
    for t in (.2, .3, .4): tell("Input.dispatchTouchEvent", dict(type="touchMove", touchPoints=at(t)))
    tell("Input.dispatchTouchEvent", dict(type="touchEnd", touchPoints=[]))
    settle(studio)
    assert mask(studio, 0) != before
    click(studio, 0, "undo"); assert mask(studio, 0) == before


def test_attributes_sliders_history(studio):
    page, first = studio.page, seen(studio, 0)
    page.get_by_label("Gray Hair").first.check(); settle(studio)
    grey = seen(studio, 0)
    assert change(first, grey).mean() > 1 and not page.get_by_label("Black Hair").first.is_checked()
    slider = page.locator(".widget-slider", has_text="z a").first.locator(".noUi-handle")
    slider.focus()
    for _ in range(5): page.keyboard.press("ArrowRight")
    settle(studio)
    rolled = seen(studio, 0)
    assert change(grey, rolled).mean() > 1
    page.locator(".scgan-history").first.locator("button:visible").nth(-3).click(); settle(studio)
    assert np.array_equal(seen(studio, 0), first)
    assert studio.faults() == []


def test_save_and_load(studio, tmp_path):
    page = studio.page
    stroke(studio, 0, [(.1, .2), (.1, .8)])
    saved = seen(studio, 0)
    page.locator("button", has_text="save picture").first.click()
    link = page.locator("a[download]").first
    link.wait_for()
    with page.expect_download() as got: link.click()
    path = tmp_path/"mine.png"; got.value.save_as(path)
    files = sorted(p.name for p in (studio.server.folder/"studio").glob("scgan_*"))
    assert files == ["scgan_0001.json", "scgan_0001.png"]
    assert path.read_bytes() == (studio.server.folder/"studio"/files[1]).read_bytes()
    click(studio, 0, "undo")
    for _ in range(100): # a download keeps the page busy, so the answer may come after a pause
        if not np.array_equal(seen(studio, 0), saved): break
        page.wait_for_timeout(100)
    else: assert False, "undo changed nothing"
    with page.expect_file_chooser() as chooser: page.locator("button", has_text="load (").first.click()
    chooser.value.set_files(path)
    settle(studio)
    assert np.array_equal(seen(studio, 0), saved)
    click(studio, 0, "undo")


def test_a_wrong_file_is_a_message(studio, tmp_path):
    (tmp_path/"bad.png").write_bytes(b"no image")
    before = mask(studio, 0)
    painter(studio, 0).locator("input[type=file]").set_input_files(tmp_path/"bad.png")
    live = painter(studio, 0).locator(".sg-problem:visible")
    live.wait_for(timeout=10_000)
    assert "bad.png" in live.inner_text() and mask(studio, 0) == before


def test_500_moves_leave_the_last_one(studio):
    "A drag of 500 moves: few messages, no backlog, and the picture is that of the last place."
    page = studio.page
    click(studio, 0, "class hat")
    box = page.locator(f"{CANVAS}:first-child").first.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5); page.mouse.down()
    for i in range(10): page.mouse.move(box["x"] + 5 + 280*(i % 2), box["y"] + 5 + 15*i, steps=50)
    page.mouse.up()
    began = time.monotonic(); settle(studio)
    assert time.monotonic() - began < 3
    sent = int(painter(studio, 0).evaluate("e => e.dataset.count"))
    assert sent < 400
    drawn, picture = mask(studio, 0), seen(studio, 0)
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')"); time.sleep(1)
    page.reload(); reopened(studio)
    assert mask(studio, 0) == drawn and np.array_equal(seen(studio, 0), picture) # the kernel has it all
    assert studio.faults() == []
    click(studio, 0, "undo") # one stroke, one step
    assert mask(studio, 0) != drawn


def reopened(page):
    page.page.wait_for_function("document.querySelectorAll('.scgan-painter').length === 2", timeout=90_000)
    settle(page)


def test_a_dead_kernel_is_a_message(studio):
    "Last, for nothing works afterwards."
    studio.server.api(f"kernels/{studio.kernel}/restart", {})
    time.sleep(2)
    box = studio.page.locator(f"{CANVAS}:first-child").first.bounding_box()
    studio.page.mouse.click(box["x"] + 50, box["y"] + 50)
    live = painter(studio, 0).locator(".sg-problem:visible")
    live.wait_for(timeout=20_000)
    assert "run the cell again" in live.inner_text()
