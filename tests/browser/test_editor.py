"The studio of SeCGAN in JupyterLab: sliders, rivals, the border, the looks, another face, an own photograph, a reload."
import numpy as np
import pytest

from tests.browser.lab import pixels
from tests.browser.test_painter import RUN, Sheet
from tests.browser.test_studio import settle

pytestmark = pytest.mark.xdist_group("browser")
SETUP = """
import torch
from scgan_nb.core.show import Picture
from scgan_nb.trainers.secgan import SeCGAN
from scgan_nb.widgets.studio import studio
from scgan_nb.worlds.faces import Faces
torch.manual_seed(0)
data = Faces(64, seed=1, **SeCGAN.configs["faces"].opens)
system = SeCGAN.for_data(data, twin=False, width=8, n_blocks=1).eval() # random weights: everything is connected"""
OPEN = "box = studio(system, data)\nbox", "other = studio(system, data)\nother"


@pytest.fixture(scope="module")
def sheet(server, browser):
    "Two studios in one notebook."
    sheet = Sheet(server, browser, "editor.ipynb", [SETUP, *OPEN], height=2400)
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area').then(() => null)")
    sheet.page.evaluate(RUN)
    shown(sheet)
    yield sheet
    sheet.close()


@pytest.fixture
def studio(sheet):
    "Both studios as they were opened; afterwards the console must be empty, and the second studio untouched."
    sheet.python("box.set(dict(face=0, change={}, look=dict(wipe=0., show='image')))"); settle(sheet)
    before = pixels(sheet.page, n=1)
    yield sheet
    assert np.array_equal(pixels(sheet.page, n=1), before)
    assert sheet.faults() == []


def shown(sheet):
    sheet.page.wait_for_function("document.querySelectorAll('img.scgan-picture, .scgan-picture img').length === 2",
                                 timeout=120_000)
    settle(sheet)


def seen(sheet): return pixels(sheet.page)
def values(sheet): return sheet.python("box.values")
def wishes(sheet): return {n: round(v, 6) for n, v in values(sheet)["change"].items()} # a slider adds up its steps


def pull(sheet, name, steps):
    "Move a slider by the keyboard; a step is a twentieth, or a hundredth of the border."
    handle = sheet.page.locator(".widget-slider", has_text=name).first.locator(".noUi-handle")
    handle.scroll_into_view_if_needed(); handle.focus()
    for _ in range(abs(steps)): sheet.page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
    settle(sheet)


def test_sliders_and_rivals(studio):
    first = seen(studio)
    pull(studio, "Black Hair", 4)
    black = seen(studio)
    assert not np.array_equal(black, first) and wishes(studio) == dict(Black_Hair=.2)
    pull(studio, "Blond Hair", 6) # black hair moves back to the middle
    assert wishes(studio) == dict(Blond_Hair=.3)
    label = studio.page.locator(".scgan-note", has_text="asked for:").first.inner_text()
    assert "Blond Hair +0.3" in label
    assert not np.array_equal(seen(studio), black)
    studio.shot("secgan_edit", ".jp-OutputArea-output")
    studio.page.locator("button", has_text="no change").first.click(); settle(studio)
    assert np.array_equal(seen(studio), first) and wishes(studio) == {}


def test_the_border_and_the_looks(studio):
    pull(studio, "Smiling", 10)
    edit, source = seen(studio), studio.python("((box.source + 1)*127.5).round().int().tolist()")
    pull(studio, "source", 50)
    wiped = seen(studio)
    assert np.array_equal(wiped[:, 32:], edit[:, 32:])
    assert np.abs(wiped[:, :32] - np.array(source).transpose(1, 2, 0)[:, :32]).max() <= 1
    images = [wiped]
    for way in ("difference", "parts"):
        studio.page.get_by_role("button", name=way, exact=True).first.click(); settle(studio)
        images.append(seen(studio))
        studio.shot(f"secgan_{way}", ".jp-OutputArea-output")
    assert all(not np.array_equal(a, b) for i, a in enumerate(images) for b in images[:i])
    assert (np.ptp(images[1][:, 32:], axis=2) == 0).all() # grey
    assert np.array_equal(images[1][:, :32], wiped[:, :32])


def test_another_face_and_own_photographs(studio, tmp_path):
    first = seen(studio)
    studio.page.get_by_role("button", name="3", exact=True).first.click(); settle(studio)
    third = seen(studio)
    assert not np.array_equal(third, first) and values(studio)["face"] == 3
    studio.python(f"Picture(data[40]['image']).save({str(tmp_path/'me.png')!r})")
    (tmp_path/"bad.png").write_bytes(b"no image")
    def upload(name):
        with studio.page.expect_file_chooser() as chooser:
            studio.page.locator("button", has_text="own photograph").first.click()
        chooser.value.set_files(tmp_path/name)
        studio.page.locator(".scgan-note", has_text=name).first.wait_for(timeout=20_000); settle(studio)
    upload("bad.png"); assert values(studio)["face"] == 3 and np.array_equal(seen(studio), third)
    upload("me.png"); assert isinstance(values(studio)["face"], str) and not np.array_equal(seen(studio), third)
    assert studio.page.locator("[role=alert]:visible").count() == 0


def test_save_load_and_history(studio, tmp_path):
    first = seen(studio)
    pull(studio, "Beard", 12)
    saved = seen(studio)
    studio.page.locator("button", has_text="save picture").first.click()
    link = studio.page.locator("a[download]").first
    link.wait_for()
    with studio.page.expect_download() as got: link.click()
    got.value.save_as(tmp_path/"mine.png")
    studio.page.locator("button", has_text="no change").first.click(); settle(studio)
    assert np.array_equal(seen(studio), first)
    with studio.page.expect_file_chooser() as chooser:
        studio.page.locator("button", has_text="load (").first.click()
    chooser.value.set_files(tmp_path/"mine.png"); settle(studio)
    studio.until("box.values['change']"); settle(studio)
    assert wishes(studio) == dict(Beard=.6) and np.array_equal(seen(studio), saved)


def test_errors_are_messages_and_a_reload_shows_the_same(studio):
    studio.python("globals().update(paint=box.system.paint)")
    studio.python("setattr(box.system, 'paint', lambda *a, **k: 1/0)")
    before = seen(studio)
    pull(studio, "Young", -4)
    studio.page.get_by_text("ZeroDivisionError").first.wait_for(timeout=10_000)
    assert np.array_equal(seen(studio), before)
    studio.python("setattr(box.system, 'paint', paint)")
    pull(studio, "Young", -1)
    after = seen(studio)
    assert not np.array_equal(after, before) and studio.page.locator("[role=alert]:visible").count() == 0
    studio.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    studio.open(); shown(studio)
    assert np.array_equal(seen(studio), after)
