"""From the end of the throttle window to the new picture in the page, in a real JupyterLab and Chromium.

The round trip begins when the browser sends a piece of a stroke, and ends when the new picture is decoded in the page.
The kernel's part is reading, painting and compressing, as the studio measures it.

For SCA-GAN a joint is dragged, at 128 x 96 and with the style of the source read before: `python -m tests.bench.studio
sca_gan`. For SeCGAN a slider is moved by the keyboard, and the round trip begins with the key."""
import statistics
import sys
import tempfile
from pathlib import Path

WATCH = """n => {
  const img = document.querySelectorAll('img.scgan-picture, .scgan-picture img')[n]
  const painter = document.querySelectorAll('.scgan-live')[n]
  window.times = []
  img.addEventListener('load', () => window.times.push(performance.now() - Number(painter.dataset.sent)))
}"""


def percentile(values, q): return sorted(values)[min(len(values) - 1, int(q*len(values)))]


def measure(page, n, strokes=60):
    "Milliseconds of round trips and of the kernel's part, for one studio of a page."
    from tests.browser.test_studio import CANVAS, painter, settle
    canvas = page.page.locator(f"{CANVAS}:first-child").nth(n)
    canvas.scroll_into_view_if_needed()
    painter(page, n).locator(".sg-class").nth(3).click(); settle(page)
    page.page.evaluate(WATCH, n)
    kernel = []
    for i in range(strokes):
        if i % 20 == 0: painter(page, n).locator(".sg-class").nth(3 + i//20).click()
        box = canvas.bounding_box()
        page.page.mouse.click(box["x"] + 20 + 14*(i % 20), box["y"] + 40 + 60*(i//20))
        page.page.wait_for_timeout(500) # no polling meanwhile: it takes time from the page
        kernel.append(float(page.page.locator("[role=status]", has_text="ms on").nth(n).inner_text().split()[0]))
    return page.page.evaluate("window.times"), kernel


def drag(page, n, moves=60):
    "The same for the pose editor: single moves of a wrist, each answered before the next."
    from tests.browser.test_studio import settle
    page.page.locator(".sg-figure").first.scroll_into_view_if_needed()
    settle(page); page.page.evaluate(WATCH, n)
    box, mouse, kernel = page.page.locator("[data-joint='4'] .sg-dot").first.bounding_box(), page.page.mouse, []
    x, y = box["x"] + box["width"]/2, box["y"] + box["height"]/2
    mouse.move(x, y); mouse.down()
    for i in range(moves):
        mouse.move(x - 20 + 3*(i % 20), y - 40 - 3*(i//20))
        page.page.wait_for_timeout(500) # no polling meanwhile: it takes time from the page
        kernel.append(float(page.page.locator("[role=status]", has_text="ms on").nth(n).inner_text().split()[0]))
    mouse.up()
    return page.page.evaluate("window.times"), kernel


KEYS = """n => {
  const img = document.querySelectorAll('img.scgan-picture, .scgan-picture img')[n]
  window.times = []
  document.addEventListener('keydown', () => { window.began = performance.now() }, true)
  img.addEventListener('load', () => window.times.push(performance.now() - window.began))
}"""


def slide(page, n, moves=60):
    "The same for a slider of ipywidgets: single steps by the keyboard, each answered before the next."
    from tests.browser.test_studio import settle
    handle = page.page.locator(".widget-slider", has_text="Smiling").nth(n).locator(".noUi-handle")
    handle.scroll_into_view_if_needed(); settle(page); page.page.evaluate(KEYS, n)
    handle.focus(); kernel = []
    for i in range(moves):
        page.page.keyboard.press("ArrowRight" if i//15 % 2 else "ArrowLeft")
        page.page.wait_for_timeout(500) # no polling meanwhile: it takes time from the page
        kernel.append(float(page.page.locator("[role=status]", has_text="ms on").nth(n).inner_text().split()[0]))
    return page.page.evaluate("window.times"), kernel


OPEN = dict(sca_gan="""box = studio("sca_gan")
box.panels["pose"].state.load(box.data[8])
box""")
MEASURE = dict(sca_gan=drag, secgan=slide)


def main(*chosen):
    "Print a table."
    from tests.browser.lab import Page, Server, why_not
    if problem := why_not(): print(f"studio: not measured, {problem}"); return
    import shutil
    from playwright.sync_api import sync_playwright
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            print(f"{'ms':24}{'kernel, median':>16}{'round trip, median':>20}{'nine of ten below':>20}")
            for name in chosen or ("scgan", "semantic_composition", "sca_gan", "secgan"):
                cells = ["from scgan_nb.widgets.studio import studio", OPEN.get(name, f"studio({name!r})")]
                page = Page(server, browser, f"{name}.ipynb", cells, height=1400)
                page.run_all()
                page.page.wait_for_selector(".scgan-picture", timeout=120_000)
                trips, kernel = MEASURE.get(name, measure)(page, 0)
                page.close()
                middle = [statistics.median(x) for x in (kernel, trips)]
                print(f"{name:24}{middle[0]:>16.0f}{middle[1]:>20.0f}{percentile(trips, .9):>20.0f}")
            browser.close()
    finally: server.close()


if __name__ == "__main__": main(*sys.argv[1:])
