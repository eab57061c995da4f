"The pages of the website: which notebook becomes which page, in which group it stands, and where a link leads."
import os
import re
from functools import lru_cache
from pathlib import Path

import nbformat
from nbdev.config import get_config
from nbdev.doclinks import nbglob

CFG = get_config(path=Path(__file__).parents[2])
ROOT, NBS = Path(CFG.config_path), Path(CFG.nbs_path)
SITE = f"{CFG.doc_host}{CFG.doc_baseurl}/" # where nbdev's own links lead
# the groups of the navigation in their order; the papers stand between the two parts
FIRST = dict(tutorials="Tutorials", widgets="Studios")
REST = dict(core="Core", datasets="Datasets", worlds="Drawn worlds", networks="Shared networks", losses="Losses",
            trainers="Training", metrics="Metrics", official="Official weights", figures="Figures")
# what a paper owns, and the label of the page that bears the paper's name
PAPER = dict(networks="Networks", losses="Losses", metrics="Metrics", trainers="System", figures="Figures",
             official="Official weights")


def page_of(path):
    "networks/10_scgan.ipynb -> networks/scgan, as in nbdev's own links."
    return (path.parent/re.sub(r"^\d+[a-z]?_", "", path.stem)).as_posix()


@lru_cache(None)
def pages():
    "{notebook, relative to nbs: its page}, in the order of their numbers."
    found = {p: page_of(p) for p in sorted(Path(f).relative_to(NBS) for f in nbglob(NBS))}
    twice = sorted({f"{p}" for p in found for q in found if p != q and found[p] == found[q]})
    if twice: raise ValueError(f"{' and '.join(twice)} would be one page: give one of them another name")
    return found


@lru_cache(None)
def heading(path):
    "Title and description of a notebook: the first line and the quote below it."
    first = nbformat.read(NBS/path, as_version=4).cells[0].source
    found = re.match(r"# (.+)\n\n> (.+)", first)
    if not found: raise ValueError(f"nbs/{path} begins with {first[:40]!r}: its first cell must be '# title', an empty "
                                   "line and '> description'")
    return found[1], found[2]


def groups():
    "[(caption, [(label or None, page), ...]), ...]: tutorials, then each paper, then what they share."
    left = {p: page for p, page in pages().items() if page != "index"}
    def take(wanted): return {p: left.pop(p) for p in [p for p in left if wanted(p)]}
    out = [(caption, [(None, page) for page in take(lambda p: p.parts[0] == folder).values()])
           for folder, caption in FIRST.items()]
    for system in [p for p in left if p.parts[0] == "trainers" and re.match("[1-8]0_", p.name)]:
        mine = take(lambda p: p.parts[0] in PAPER and p.name[0] == system.name[0])
        rows = [(PAPER[f] if p.stem == system.stem else None, page) for f in PAPER for p, page in mine.items()
                if p.parts[0] == f]
        out.append((heading(system)[0], rows))
    programs = take(lambda p: len(p.parts) == 1)
    for folder in [*REST, *sorted({p.parts[0] for p in left} - REST.keys())]:
        rows = [(None, page) for page in take(lambda p: p.parts[0] == folder).values()]
        out.append((REST.get(folder, folder.capitalize()), rows))
    return [(c, rows) for c, rows in [*out, ("Command line", [(None, page) for page in programs.values()])] if rows]


def github(path, how="blob"): return f"{CFG.git_url}/{how}/{CFG.branch}/{path}"


def colab(path):
    return f"https://colab.research.google.com/github/{CFG.user}/{CFG.repo}/blob/{CFG.branch}/{path}"


def lead(href, path):
    "Where a link in the notebook `path` leads: (page or None, address or anchor). LookupError where there is nothing."
    if href.startswith(SITE):
        page, _, anchor = href.removeprefix(SITE).partition(".html")
        if page not in pages().values(): raise LookupError(f"{href} is no page of this website")
        return page, anchor.lower()
    if re.match(r"[a-z]+:", href) or href.startswith("#"): return None, href
    file, _, anchor = href.partition("#")
    target = Path(os.path.normpath(NBS/path.parent/file))
    if not target.exists() or not target.is_relative_to(ROOT):
        raise LookupError(f"nbs/{path} links to {href}, which does not exist")
    inside = target.relative_to(NBS) if target.is_relative_to(NBS) else None
    if inside in pages(): return pages()[inside], anchor and f"#{anchor}"
    return None, github(target.relative_to(ROOT).as_posix(), "tree" if target.is_dir() else "blob") + (
        anchor and f"#{anchor}")
