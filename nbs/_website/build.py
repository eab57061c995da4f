"""The website: every notebook becomes a page.  `make docs`, or `python nbs/_website/build.py [--out _docs]`

nbdev reads directives and documents what is exported, Sphinx with myst-nb and furo makes the pages. No notebook is run:
pages show the outputs that notebooks carry.
"""
import argparse
import ast
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from functools import reduce
from importlib.metadata import version
from pathlib import Path

from nbdev.doclinks import NbdevLookup
from nbdev.process import NBProcessor
from nbdev.processors import filter_stream_, hide_line, rm_header_dash, strip_ansi
from nbdev.showdoc import show_doc, showdoc_nm

import pages
from api import Block, anchors
from pages import CFG, NBS, ROOT

HERE = Path(__file__).parent
CACHE = ROOT/"_proc" # ignored by git
MATHJAX = "3.2.2"
SHA256 = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def mathjax():
    "The folder that holds MathJax's one script, fetched from npm the first time."
    folder = CACHE/f"mathjax-{MATHJAX}"
    script = folder/"mathjax/tex-svg.js"
    if not script.exists():
        fix = (f"install Node.js, which brings npm, or put es5/tex-svg.js of MathJax {MATHJAX} at "
               f"{script.relative_to(ROOT)}")
        npm = shutil.which("npm")
        if not npm: raise FileNotFoundError(f"npm was not found, which the website needs once for MathJax: {fix}")
        with tempfile.TemporaryDirectory() as tmp:
            done = subprocess.run([npm, "pack", "--silent", f"mathjax@{MATHJAX}"], cwd=tmp, capture_output=True,
                                  text=True)
            packed = [*Path(tmp).glob("*.tgz")]
            if done.returncode or not packed:
                says = (done.stderr.strip().splitlines() or ["it wrote no file"])[0]
                raise FileNotFoundError(f"npm could not fetch mathjax@{MATHJAX} ({says}): go online, or {fix}")
            with tarfile.open(packed[0]) as tar: data = tar.extractfile("package/es5/tex-svg.js").read()
        script.parent.mkdir(parents=True, exist_ok=True)
        draft = script.with_suffix(f".{os.getpid()}")
        draft.write_bytes(data)
        os.replace(draft, script)
    found = hashlib.sha256(script.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{script.relative_to(ROOT)} is not that of MathJax {MATHJAX} (sha256 {found}): delete it and "
                         "build again")
    return folder


def markdown(text, **metadata): return dict(cell_type="markdown", metadata=metadata, source=text)


def is_import(node): return isinstance(node, (ast.Import, ast.ImportFrom))


def cleaned(output):
    "An output as a page without a kernel can show it: the picture of a widget; None for a widget without one."
    if "data" not in output: return output
    data = {k: v for k, v in output["data"].items() if k != "application/javascript"}
    if any("widget" in k for k in data):
        data = {k: v for k, v in data.items() if k.startswith("image/")}
    return {**output, "data": data} if data else None


def shown(cell):
    "A code cell, with its fold and its outputs."
    says = lambda name: cell.directives_.get(f"{name}:", [""])[0].lower()
    if "hide" in cell.directives_ or "default_exp" in cell.directives_ or says("include") == "false": return []
    tags = [t for t, is_so in (("remove-input", says("echo") == "false"), ("hide-input", says("code-fold") == "true"),
                               ("remove-output", says("output") == "false")) if is_so]
    outputs = [o for o in map(cleaned, cell.outputs) if o]
    return [dict(cell_type="code", metadata=dict(tags=tags), source=cell.source, outputs=outputs, execution_count=None)]


def documented(cell, module, level):
    "An exported cell: what `show_doc` says of each definition, and the source below it, folded."
    tree = ast.parse(cell.source).body
    if all(map(is_import, tree)): return []
    names = [showdoc_nm(node) for node in tree if isinstance(node, DEFS)]
    own = [name for name in names if re.search(r"(^|\.)_(?!_)", name)] # without a block, but links may lead there
    blocks = [markdown(show_doc(reduce(getattr, name.split("."), module), Block, name, level)._repr_markdown_())
              for name in names if name not in own]
    if own: blocks.append(markdown(anchors(*own)))
    source = dict(cell_type="code", metadata=dict(tags=["hide-input", "source"]), source=cell.source, outputs=[],
                  execution_count=None)
    return [*blocks, source]


def top(path, cell):
    "Title, description, links, and what else the first cell says. A badge goes: it loads a picture from outside."
    title, subtitle = pages.heading(path)
    rest = cell.source.split(subtitle, 1)[1]
    rest = re.sub(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)", "", rest).strip()
    file = f"nbs/{path.as_posix()}"
    links = {"Open in Colab": pages.colab(file), "Source": pages.github(file), "Edit": pages.github(file, "edit")}
    bar = "".join(f'<a href="{url}">{text}</a>' for text, url in links.items())
    return markdown(f'# {title}\n\n> {subtitle}\n\n<p class="page-links">{bar}</p>\n\n{rest}')


def contents():
    "The navigation, as the home page carries it."
    tree = "\n\n".join("```{toctree}\n:hidden:\n:caption: %s\n\n%s\n```" % (
        caption, "\n".join(f"{label} </{page}>" if label else f"/{page}" for label, page in rows))
        for caption, rows in pages.groups())
    return markdown(tree)


def level_after(text, level):
    "The level of the last heading in a markdown cell."
    found = re.findall(r"^(#{1,6}) ", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return len(found[-1]) if found else level


def convert(path):
    "A notebook as myst-nb reads it, from the notebook as its author wrote it."
    nb = NBProcessor(NBS/path, [hide_line, filter_stream_, strip_ansi, rm_header_dash], process=True).nb
    exp = next((c.directives_["default_exp"][0] for c in nb.cells if "default_exp" in (c.directives_ or {})), None)
    module = exp and importlib.import_module(f"{CFG.lib_name}.{exp}")
    cells, level, look = [top(path, nb.cells[0])], 1, NbdevLookup()
    for cell in nb.cells[1:]:
        if cell.cell_type == "markdown":
            cells.append(markdown(look.linkify(cell.source)))
            level = level_after(cell.source, level)
        elif cell.cell_type == "code" and cell.directives_.keys() & {"export", "exports", "exporti"}:
            cells += documented(cell, module, level + 1)
        elif cell.cell_type == "code": cells += shown(cell)
    if path.name == "index.ipynb": cells.append(contents())
    for i, cell in enumerate(cells): cell["id"] = f"cell-{i}"
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"),
                  language_info=dict(name="python"))
    return dict(nbformat=4, nbformat_minor=5, metadata=kernel, cells=cells)


def write_source(folder):
    "All notebooks and the pictures that lie beside them, as Sphinx reads them."
    for path, page in pages.pages().items():
        file = folder/f"{page}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(convert(path)), encoding="utf-8")
    for picture in NBS.rglob("*.*"):
        if picture.suffix in PICTURES and not any(p[0] in "._" for p in picture.relative_to(NBS).parts):
            to = folder/picture.relative_to(NBS)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, to)


def make(source, out, scripts):
    "Sphinx; a warning is an error."
    from sphinx.application import Sphinx
    app = Sphinx(source, HERE, out, source.parent/"trees", "html", warningiserror=True, status=None, parallel=2,
                 confoverrides=dict(html_static_path=[str(HERE/"static"), str(scripts)]))
    app.build(force_all=True)
    return app.statuscode


def fingerprint():
    "Of everything that the pages are made from, the programs that make them included."
    tools = [f"{name} {version(name)}" for name in ("nbdev", "sphinx", "myst-nb", "furo")]
    seen = hashlib.sha256("\n".join([sys.version, *tools]).encode())
    for folder, kinds in ((NBS, "*"), (CFG.lib_path, "*.py")):
        for file in sorted(f for f in folder.rglob(kinds) if f.is_file() and f.suffix != ".pyc"
                           and ".ipynb_checkpoints" not in f.parts):
            seen.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode() + file.read_bytes())
    seen.update((ROOT/"settings.ini").read_bytes())
    return seen.hexdigest()


@contextmanager
def alone():
    "One build at a time in a checkout: tests may run in several processes. (Windows has no such lock.)"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE/"website.lock", "w") as file:
        if sys.platform != "win32":
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--out", type=Path, default=ROOT/CFG.doc_path, help="folder of the pages")
    out = parse.parse_args().out.resolve()
    with alone(): build(out)


def build(out):
    "Make the pages, unless they are there and nothing that they are made from has changed."
    start, made_from, stamp = time.perf_counter(), fingerprint(), out/".made-from"
    if stamp.exists() and stamp.read_text() == made_from: return print(f"{os.path.relpath(out)} is up to date")
    try:
        if out.exists() and not stamp.exists() and (out.is_file() or any(out.iterdir())):
            raise ValueError(f"{out} is no website of an earlier build: give --out a new or an empty folder")
        scripts = mathjax()
        with tempfile.TemporaryDirectory() as tmp:
            tmp = Path(tmp)
            write_source(tmp/"source")
            read = time.perf_counter()
            if make(tmp/"source", tmp/"site", scripts):
                raise ValueError("the website was not made: repair what the warnings above name")
            missing = (HERE/"404.html").read_text(encoding="utf-8") # served for any address, so its links are absolute
            (tmp/"site/404.html").write_text(missing.replace("HOME", f"{CFG.doc_baseurl}/"), encoding="utf-8")
            (tmp/"site"/stamp.name).write_text(made_from)
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(tmp/"site", out)
    except (OSError, ValueError) as e: sys.exit(f"docs: {e}")
    print(f"{len(pages.pages())} pages in {os.path.relpath(out)} ({read - start:.0f} s notebooks, "
          f"{time.perf_counter() - read:.0f} s Sphinx)")


if __name__ == "__main__": main()
