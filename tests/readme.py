"README.md from nbs/index.ipynb: `python -m tests.readme`. (nbdev's own step needs a program that pip cannot install.)"
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter


def main():
    nb = nbformat.read("nbs/index.ipynb", as_version=4)
    nb.cells = [c for c in nb.cells if not re.match(r"#\|\s*(hide|default_exp)", c.source) and not c.source.startswith("## Export -")]
    for c in nb.cells:
        if c.cell_type == "code":
            c.source = re.sub(r"^#\|.*\n", "", c.source, flags=re.M)
            c.outputs = [o for o in c.outputs if "text/plain" in o.get("data", {}) and not {"image/png", "image/jpeg"} & o["data"].keys() or o.output_type == "stream"]
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r"\]\((?!https?:|#)", "](nbs/", text)                       # links are relative to nbs/ in the notebook
    text = re.sub(r"^- order: .*\n", "", text, count=1, flags=re.M)           # the sidebar's order
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    Path("README.md").write_text("<!-- made from nbs/index.ipynb by `make export`: edit the notebook -->\n\n" + text + "\n", encoding="utf-8")


if __name__ == "__main__": main()
