"""Record the film that opens the README: the studio of SCGAN in a real browser, a mask is painted and the face follows.

    python -m tests.browser.film nbs/images/studio.gif
"""
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from scgan_nb.core.film import Film
from tests.browser.lab import Page, Server
from tests.browser.test_studio import CANVAS, painter, settle

CELL = """from scgan_nb.widgets.studio import studio
box = studio("scgan")
box.panels["mask"].take({sample})
box.panels["latent"].value = dict(a={seed}, b=1, t=0.)
box.panels["attributes"].value = {attributes}
box"""
STROKES = [ # class, brush, points as shares of height and width
    ("class hair", 5, [(.35, .24), (.6, .2), (.8, .22), (.88, .2)]),
    ("class hair", 5, [(.35, .76), (.6, .8), (.8, .78), (.88, .8)]),
    ("class hat", 9, [(.2, .25), (.13, .38), (.11, .5), (.13, .62), (.2, .75)]),
    ("class hat", 4, [(.27, .12), (.26, .5), (.27, .88)]),
]


class Camera:
    "Frames of a part of the page."
    def __init__(self, page, clip): self.page, self.clip, self.frames = page, clip, []

    def __call__(self, milliseconds=90):
        shot = self.page.screenshot(clip=self.clip)
        self.frames.append((Image.open(io.BytesIO(shot)).convert("RGB"), milliseconds))

    def save(self, path, width=680):
        images = [f.resize((width, round(f.height*width/f.width)), Image.LANCZOS) for f, _ in self.frames]
        Film(images, [t for _, t in self.frames]).save(path)


def act(page, camera):
    "Paint, choose another hair colour, roll the latent."
    camera(900)
    canvas = page.page.locator(f"{CANVAS}:first-child").first
    for label, width, points in STROKES:
        painter(page, 0).get_by_label(label, exact=True).click()
        painter(page, 0).get_by_label("brush size in pixels").fill(str(width)); settle(page)
        box = canvas.bounding_box()
        at = lambda p: (box["x"] + p[1]*box["width"], box["y"] + p[0]*box["height"])
        page.page.mouse.move(*at(points[0])); page.page.mouse.down()
        for a, b in zip(points, points[1:]):
            for t in (1/3, 2/3, 1):
                page.page.mouse.move(*at([u + t*(v - u) for u, v in zip(a, b)]), steps=2)
                settle(page); camera()
        page.page.mouse.up(); settle(page); camera(350)
    for name in ("Blond Hair", "Brown Hair"):
        page.page.get_by_label(name).first.check(); settle(page); camera(800)
    for _ in range(2):
        page.page.locator("button", has_text="re-roll").first.click(); settle(page); camera(800)
    camera(1200)


def main(path, sample=3, seed=7, attributes=(1., 0, 0, 0, 1, 0, 0)):
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            cell = CELL.format(sample=int(sample), seed=int(seed), attributes=list(attributes))
            page = Page(server, browser, "film.ipynb", [cell], 1280, 1400)
            page.run_all()
            page.page.wait_for_selector(f"{CANVAS}", state="attached", timeout=120_000)
            page.page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
            settle(page)
            left = page.page.locator(".scgan-painter").first.bounding_box()
            right = page.page.locator(".scgan-picture").first.bounding_box()
            clip = dict(x=left["x"] - 8, y=min(left["y"], right["y"]) - 8, height=left["height"] + 190,
                        width=right["x"] + right["width"] - left["x"] + 18)
            camera = Camera(page.page, clip)
            act(page, camera)
            camera.save(path)
            browser.close()
    finally: server.close()
    print(f"{path}: {len(camera.frames)} frames, {Path(path).stat().st_size/1e6:.2f} MB")


if __name__ == "__main__": main(*sys.argv[1:])
