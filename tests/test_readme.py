"The first page and the list of what ships: links exist, tables are those of the registry, commands can be given."
import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest
from fastcore.script import anno_parser

from scgan_nb import cli
from scgan_nb.core.registry import find
from tests import readme

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT/readme.INDEX, as_version=4).cells
TEXT = "\n".join(c.source for c in CELLS if c.cell_type == "markdown")
LINKS = sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT)))
COMMANDS = re.findall(r"^scgan_\w+.*", TEXT + "\n" + (ROOT/"data/README.md").read_text(encoding="utf-8"), flags=re.M)


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link):
    assert (ROOT/"nbs"/link).exists(), f"nbs/index.ipynb links to {link}, which does not exist"


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_can_be_given(line):
    "Options, systems, datasets, configurations, hyper-parameters and arguments of datasets exist."
    name, *words = shlex.split(line, comments=True)
    options = [f"--{w[2:].replace('-', '_')}" if w.startswith("--") else w for w in words]
    given = anno_parser(vars(cli)[name], name).parse_args(options)
    if data := vars(given).get("data"):
        taken = cli.arguments_of(find("datasets", data))
        assert set(cli.parse_settings(given.dataset)) <= set(taken)
        if vars(given).get("split"): assert given.split in find("datasets", data).splits
    if name == "scgan_train":
        cls = find("trainers", given.system.partition(".")[0])
        cli.parse_size(given.size)
        assert given.config is None or given.config in cls.configs
        assert set(cli.parse_settings(given.set)) <= {f.name for f in fields(cls.Hyper)}


SNIPPETS = re.findall(r"^```python\n(.*?)^```", (ROOT/"README.md").read_text(encoding="utf-8"), flags=re.M|re.S)


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_run_as_a_script_leaves_a_file(code, tmp_path):
    (tmp_path/"script.py").write_text(code, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | dict(PYTHONPATH=path))
    assert done.returncode == 0, done.stderr
    left = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")]
    assert left and all(f in code for f in left), f"the script left {left or 'nothing'}"


def test_there_are_snippets(): assert SNIPPETS


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
