"The first page: its links lead somewhere, and its tables are those of the registry."
import ast
import re
from pathlib import Path

import nbformat
import pytest

from tests import readme

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT/readme.INDEX, as_version=4).cells
TEXT = "\n".join(c.source for c in CELLS if c.cell_type == "markdown")
LINKS = sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT)))


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link):
    assert (ROOT/"nbs"/link).exists(), f"nbs/index.ipynb links to {link}, which does not exist"


def value(source, names):
    "Run the source of a cell and return what its last line shows."
    *first, last = ast.parse(source).body
    exec(compile(ast.Module(first, []), "index", "exec"), names)
    return eval(compile(ast.Expression(last.value), "index", "eval"), names)


def test_tables_are_those_of_the_registry():
    tables, names = [c for c in CELLS if re.search(r"^#\| *echo: *false", c.source, flags=re.M)], {}
    assert len(tables) == 2
    for cell in tables:
        committed = [o["data"]["text/markdown"] for o in cell.outputs]
        assert committed == [value(cell.source, names).data], "run nbs/index.ipynb again and commit its output"


def test_readme_keeps_tables_and_images():
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    assert "| `scgan` |" in text and "<IPython" not in text and "echo: false" not in text
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(images) >= 3
    for image in images: assert (ROOT/image).is_file(), f"README.md shows {image}, which does not exist"
