"""From the end of the throttle window to the new picture in the page, in a real JupyterLab and Chromium.

The round trip begins when the browser sends a piece of a stroke, and ends when the new picture is decoded in the page.
The kernel's part is reading, painting and compressing, as the studio measures it."""
import statistics
import tempfile
from pathlib import Path

WATCH = """n => {
  const img = document.querySelectorAll('img.scgan-picture, .scgan-picture img')[n]
  const painter = document.querySelectorAll('.scgan-painter')[n]
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


def main():
    "Print a table."
    from tests.browser.lab import Page, Server, why_not
    if problem := why_not(): print(f"studio: not measured, {problem}"); return
    import shutil
    from playwright.sync_api import sync_playwright
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            names = "scgan", "semantic_composition"
            cells = ["from scgan_nb.widgets.studio import studio", *(f"studio({n!r})" for n in names)]
            page = Page(server, browser, "bench.ipynb", cells, height=1400)
            page.run_all()
            page.page.wait_for_function("document.querySelectorAll('.scgan-painter').length === 2", timeout=120_000)
            print(f"{'ms, studio at 64 px':24}{'kernel, median':>16}{'round trip, median':>20}{'nine of ten below':>20}")
            for n, name in enumerate(names):
                trips, kernel = measure(page, n)
                middle = [statistics.median(x) for x in (kernel, trips)]
                print(f"{name:24}{middle[0]:>16.0f}{middle[1]:>20.0f}{percentile(trips, .9):>20.0f}")
            browser.close()
    finally: server.close()


if __name__ == "__main__": main()
