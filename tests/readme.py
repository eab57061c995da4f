"README.md from nbs/index.ipynb: `python -m tests.readme`. (nbdev's own step needs a program that pip cannot install.)"
import base64
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

INDEX, IMAGES = Path("nbs/index.ipynb"), Path("nbs/images")
NOTE = "<!-- made from nbs/index.ipynb by `make export`: edit the notebook -->"


def image_file(cell, kind, data):
    "Write an image that a cell shows next to the others that ship, and return a link to it."
    file = IMAGES/f"index-{cell.id}.{kind}"
    if not file.exists() or file.read_bytes() != data: file.write_bytes(data)
    link = file.relative_to(INDEX.parent).as_posix()
    return nbformat.v4.new_markdown_cell(f"![The output of the cell above]({link})")


def shown(cell):
    "What the README shows of a code cell: its code unless it says `echo: false`, and its text, tables and images."
    out = nbformat.v4.new_code_cell(re.sub(r"^#\|.*\n", "", cell.source, flags=re.M), id=cell.id)
    cells = [] if re.search(r"^#\| *echo: *false", cell.source, flags=re.M) else [out]
    for o in cell.outputs:
        data = o.get("data", {})
        if "text/markdown" in data: cells.append(nbformat.v4.new_markdown_cell(data["text/markdown"]))
        elif "image/jpeg" in data: cells.append(image_file(cell, "jpg", base64.b64decode(data["image/jpeg"])))
        elif "image/png" in data: cells.append(image_file(cell, "png", base64.b64decode(data["image/png"])))
        else: out.outputs.append(o)
    return cells


def readme():
    "The text of the README."
    nb = nbformat.read(INDEX, as_version=4)
    kept = [c for c in nb.cells if not re.match(r"#\|\s*(hide|default_exp)", c.source)]
    nb.cells = [new for c in kept for new in (shown(c) if c.cell_type == "code" else [c])]
    nb.metadata["language_info"] = {"name": "python"}
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r"\]\((?!https?:|#)", "](nbs/", text) # links are relative to nbs/ in the notebook
    text = text.replace("](nbs/../", "](")
    return f"{NOTE}\n\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def main():
    text = readme()
    Path("README.md").write_text(text, encoding="utf-8")
    for file in IMAGES.glob("index-*"): # of cells that are gone
        if file.name not in text: file.unlink()


if __name__ == "__main__": main()
