"The website: it is built without a warning, holds together, loads nothing from outside, and works in a browser."
import inspect
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

pytest.importorskip("myst_nb", reason="the website needs the extra [docs]")
from markdown_it import MarkdownIt

from scgan_nb.core.registry import known

ROOT = Path(__file__).parents[1]
NBS, OUT, BUILD = ROOT/"nbs", ROOT/"_docs", "nbs/_website/build.py"
NOTEBOOKS = sorted(p for p in NBS.rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(NBS).parts))
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def name_of(notebook):
    "networks/10_scgan.ipynb -> networks/scgan"
    return (notebook.relative_to(NBS).parent/re.sub(r"^\d+_", "", notebook.stem)).as_posix()


class Page(HTMLParser):
    "What the tests ask of a page: ids, links, what it loads, its cells of code, table rows and prose."
    def __init__(self, file):
        super().__init__()
        self.ids, self.links, self.loads, self.code, self.inputs, self.rows, self.prose = set(), [], [], [], [], [], []
        self.open = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"): self.ids.add(attrs["id"])
        if tag == "a" and "href" in attrs: self.links.append(attrs["href"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch"):
            self.loads.append(attrs["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "object"):
            self.loads += [attrs[k] for k in ("src", "data", "poster") if attrs.get(k)]
        if tag == "pre" and "article" in self.open: self.code.append("")
        if tag == "pre" and {"cell_input", "api"} & {*self.open}: self.inputs.append(len(self.code) - 1)
        if tag == "tr": self.rows.append([])
        if tag in ("td", "th") and self.rows: self.rows[-1].append("")
        marks = {"math", "cell_input", "api"} & set((attrs.get("class") or "").split())
        if tag not in VOID: self.open.append(marks.pop() if marks else tag)

    def handle_endtag(self, tag):
        if tag not in VOID and self.open: self.open.pop()

    def handle_data(self, data):
        if "pre" in self.open and self.code and "article" in self.open: self.code[-1] += data
        if {"td", "th"} & {*self.open} and self.rows and self.rows[-1]: self.rows[-1][-1] += data
        if "article" in self.open and not {"pre", "code", "script", "style", "math"} & {*self.open}:
            self.prose.append(data)


def build(*args, cwd=ROOT, env=None):
    return subprocess.run([sys.executable, BUILD, *args], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site():
    "The pages. A build of the same notebooks, such as that of `make docs`, is not repeated."
    done = build()
    assert done.returncode == 0, done.stderr
    return {f.relative_to(OUT).with_suffix("").as_posix(): Page(f) for f in sorted(OUT.rglob("*.html"))}


def test_every_notebook_is_a_page_of_the_navigation(site):
    names = {name_of(n) for n in NOTEBOOKS}
    assert len(names) == len(NOTEBOOKS) and names <= site.keys()
    reached = {link.partition(".html")[0] for link in site["index"].links if not link.startswith("http")}
    assert names - {"index"} <= reached
    order = [link.removesuffix(".html") for link in dict.fromkeys(site["index"].links)
             if link.removesuffix(".html") in names]
    assert order[0].startswith("tutorials/") and order.index("trainers/scgan") < order.index("core/pixels")


def test_links_pictures_and_scripts_are_there(site):
    "Every link inside the site leads to a page and an anchor of it."
    lost = []
    for name, page in site.items():
        for href in {*page.links, *page.loads} - {"#"}:
            url = urlsplit(href)
            if url.scheme: continue
            path = url.path.removeprefix("/scgan_nb/") if name == "404" else url.path
            file = ((OUT/name).parent/unquote(path)).resolve() if path else OUT/f"{name}.html"
            if name == "404" and not path: file = OUT/"index.html"
            if not file.is_file() or file.stat().st_size == 0: lost.append(f"{name}: {href}")
            elif url.fragment and file.suffix == ".html":
                to = file.relative_to(OUT).with_suffix("").as_posix()
                if unquote(url.fragment) not in site[to].ids: lost.append(f"{name}: {href}, no such anchor")
    assert not lost, "\n".join(lost)


def test_nothing_is_loaded_from_outside(site):
    away = [f"{name}: {src[:80]}" for name, page in site.items() for src in page.loads
            if re.match(r"(https?:)?//", src)]
    for file in OUT.rglob("*.css"):
        away += [f"{file.name}: {url}" for url in re.findall(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]+)",
                                                             file.read_text(encoding="utf-8"))]
    assert not away, "\n".join(away)
    for file in (NBS/"_website").rglob("*"):
        if file.suffix in (".css", ".html", ".js"): assert "//" not in file.read_text(encoding="utf-8"), file


def test_no_markup_is_left(site):
    for name, page in site.items():
        text = "".join(page.prose)
        for wrong in (r"\$[^\s$]|\$\$", r"\\\(", r"\\\[", r":::", r"\{target=", r"\{toctree",
                      r"\*\*\w[^*\n]*\*\*", r"^\| ?---"):
            found = re.search(wrong, text, flags=re.M)
            assert not found, f"{name} shows {text[max(0, found.start() - 40):found.end() + 40]!r}"
        assert not [c for c in page.code if "Traceback (most recent call last)" in c], f"{name} shows a traceback"


def test_code_fits_the_column(site):
    "The column is as wide as 120 characters; the browser's tests see that it is."
    for name, page in site.items():
        room = 126 if name == "worlds/faces_params" else 120 # a table of hair styles, one in a row
        long = [line for i in page.inputs for line in page.code[i].splitlines()
                if len(line) > room and "https://" not in line] # an address cannot be split
        assert not long, f"{name}: {long[0]}"
    assert len(site["trainers/scgan"].inputs) > 40


SYSTEMS = [c for c in known("trainers").values() if c.__module__.startswith("scgan_nb.")]
CONFIGS = sorted({h for c in SYSTEMS for h in (c.Hyper, *c.configs.values())}, key=lambda h: h.__name__)


@pytest.mark.parametrize("hyper", CONFIGS, ids=lambda h: h.__name__)
def test_hyper_parameters_are_explained(site, hyper):
    "Name, type, default and comment of each, also of those that a configuration inherits."
    page = site[hyper.__module__.removeprefix("scgan_nb.").replace(".", "/")]
    written, above = {}, ""
    for line in [line for base in reversed(hyper.__mro__[:-1]) for line in inspect.getsource(base).splitlines()]:
        found = re.match(r"    (\w+):([^=#]+?)(?:=(.+?))?(?: # (.*))?$", line)
        if found:
            default = None if "field(" in line else found[3] # pages show the value that a factory makes
            written[found[1]] = default, found[4] or above or written.get(found[1], ("", ""))[1]
        comment = re.match("    # (.*)", line)
        above = comment[1] if comment else ""
    same = lambda text: re.sub(r"[`\s]", "", text or "")
    for f in fields(hyper):
        default, comment = written[f.name]
        assert comment, f"{hyper.__name__}.{f.name} has no comment"
        rows = [r for r in page.rows if same(r[0]) == f.name and same(r[-1]) == same(comment)]
        assert rows, f"{hyper.__name__}.{f.name} # {comment}: not on the page"
        assert default is None or any(same(default) in map(same, r) for r in rows), (hyper.__name__, f.name, default)


def links_of(text):
    "Addresses of the links and images of a markdown text."
    tokens = [t for block in MarkdownIt("commonmark").enable("table").parse(text) for t in block.children or ()]
    return [t.attrs.get("href") or t.attrs.get("src") for t in tokens if t.type in ("link_open", "image")]


def anchors_of(notebook):
    "The anchors of the headings of a notebook, as GitHub and Jupyter make them."
    text = "\n".join(c.source for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "markdown")
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)", text, flags=re.M)}


def lost_links(text, file):
    for link in links_of(text):
        if re.match(r"[a-z]+:", link): continue
        path, _, anchor = unquote(link).partition("#")
        target = (file.parent/path).resolve() if path else file
        if not target.exists(): yield f"{file.name} links to {link}, which does not exist"
        elif anchor and target.suffix == ".ipynb" and anchor not in anchors_of(target):
            yield f"{file.name} links to {link}, which has no such heading"


def test_links_of_notebooks_and_readme_lead_somewhere():
    lost = [why for file in (ROOT/"README.md", ROOT/"data/README.md", ROOT/"CHANGELOG.md")
            for why in lost_links(file.read_text(encoding="utf-8"), file)]
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "markdown": lost += lost_links(cell.source, notebook)
    assert not lost, "\n".join(lost)
    assert list(lost_links("[a](nowhere.md) ![b](no.png)", ROOT/"README.md")), "the check finds nothing"


@pytest.fixture
def small(tmp_path):
    "A project of one notebook beside the builder, and a function that builds it."
    for name in ("settings.ini", "README.md"): shutil.copy(ROOT/name, tmp_path/name)
    shutil.copytree(NBS/"_website", tmp_path/"nbs/_website")
    (tmp_path/"scgan_nb").mkdir()
    def make(*cells, env=None, scripts=True):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Home\n\n> The only page."), *cells])
        nbformat.write(nb, tmp_path/"nbs/index.ipynb")
        if scripts: shutil.copytree(ROOT/"_proc", tmp_path/"_proc", dirs_exist_ok=True)
        return build(cwd=tmp_path, env=env)
    return make


def test_a_link_that_leads_nowhere_stops_the_build(site, small, tmp_path):
    done = small(nbformat.v4.new_markdown_cell("See [this](gone/01_page.ipynb)."))
    assert done.returncode == 1 and not (tmp_path/"_docs").exists()
    assert "nbs/index.ipynb links to gone/01_page.ipynb, which does not exist" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("docs: the website was not made")


def test_widgets_show_their_picture(site, small, tmp_path):
    "Without a kernel: no script from elsewhere, no text such as `VBox(children=...)`."
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x", "version_major": 2},
            "text/plain": "VBox(children=())"}
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    output = lambda data: nbformat.v4.new_output("display_data", data)
    done = small(nbformat.v4.new_code_cell("studio", outputs=[output({**view, "image/png": dot})]),
                 nbformat.v4.new_code_cell("dial", outputs=[output(view)]))
    assert done.returncode == 0, done.stderr
    page = Page(tmp_path/"_docs/index.html")
    assert [s for s in page.loads if s.startswith("_images/")] and not [s for s in page.loads if "//" in s]
    assert "VBox" not in "".join(page.prose + page.code)


def test_without_npm_one_line_says_what_to_do(small, tmp_path):
    (tmp_path/"bin").mkdir()
    done = small(env={"PATH": str(tmp_path/"bin"), "PYTHONPATH": str(ROOT)}, scripts=False)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "npm was not found" in done.stderr and "install Node.js" in done.stderr


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path/"letter.txt").write_text("mine")
    done = build("--out", str(tmp_path))
    assert done.returncode == 1 and "give --out a new or an empty folder" in done.stderr
    assert (tmp_path/"letter.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def browser(site):
    "Chromium, and the address of the site below a folder, as on a server of many projects."
    sync_api = pytest.importorskip("playwright.sync_api", reason="these tests need playwright, of the extra [dev]")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program: pytest.skip("there is no chromium on this machine")
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def translate_path(self, path): return super().translate_path(path.removeprefix("/a/b"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(OUT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program)
        yield chromium, f"http://127.0.0.1:{server.server_port}/a/b/"
        chromium.close()
    server.shutdown()


def opened(browser, width, theme):
    "An empty page, and the list of everything that goes wrong in it."
    page, wrong = browser.new_page(viewport=dict(width=width, height=900), color_scheme=theme), []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    inside = ("http://127.0.0.1", "file:", "data:")
    page.on("request", lambda r: None if r.url.startswith(inside) else wrong.append(f"asks {r.url}"))
    return page, wrong


LOOK = """async () => {
  if (window.MathJax) await MathJax.startup.promise
  const all = s => [...document.querySelectorAll(s)]
  for (const i of all('img')) i.loading = 'eager'
  return {wide: document.documentElement.scrollWidth - innerWidth, formulas: all('.math').length,
          drawn: all('.math').filter(e => e.querySelector('mjx-container > svg')).length,
          broken: all('merror, [data-mjx-error]').length,
          scrolls: all('article pre').filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1).length,
          pictures: all('img').filter(i => i.complete && !i.naturalWidth).length,
          here: all('.current-page > .reference').every(e => e.getBoundingClientRect().bottom < innerHeight),
          paper: getComputedStyle(document.body).backgroundColor}
}"""


@pytest.mark.parametrize("name, formulas", [("index", 0), ("tutorials/scgan", 10), ("trainers/scgan", 10),
                                            ("metrics/evaluate", 0)])
def test_pages_in_a_browser(browser, name, formulas):
    chromium, address = browser
    for width in (1440, 390):
        for theme in ("light", "dark"):
            page, wrong = opened(chromium, width, theme)
            page.goto(f"{address}{name}.html")
            seen = page.evaluate(LOOK)
            assert not wrong, wrong
            assert seen["wide"] <= 0 and seen["broken"] == seen["pictures"] == 0, seen
            assert seen["formulas"] >= formulas and seen["drawn"] == seen["formulas"], seen
            assert width < 1440 or seen["scrolls"] == 0 and seen["here"], seen
            light = sum(map(int, re.findall(r"\d+", seen["paper"])[:3])) > 380
            assert light == (theme == "light"), seen
            page.close()


@pytest.mark.parametrize("local", [False, True], ids=["server", "file"])
def test_search_finds_prose_and_functions(browser, site, local):
    chromium, address = browser
    assert "textbook" in "".join(site["index"].prose)
    assert not any("textbook" in code for page in site.values() for code in page.code), "take a word of prose alone"
    for word, where in (("textbook", "index"), ("mask_by_attribute", "figures/scgan")):
        page, wrong = opened(chromium, 1440, "light")
        page.goto(f"{OUT.as_uri()}/index.html" if local else f"{address}index.html")
        page.fill(".sidebar-search", word)
        page.press(".sidebar-search", "Enter")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        links = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.getAttribute('href'))")
        assert any(where in link for link in links), links
        assert local or not wrong, wrong # a browser denies excerpts of the pages to a page from the disk
        page.close()
