"Sphinx's settings, and the step that turns links between notebooks into links between pages."
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pages
from docutils import nodes
from pages import CFG
from sphinx.util import logging

project, author, copyright, version = CFG.title, CFG.author, CFG.copyright, CFG.version
language = "en"
extensions = ["myst_nb", "sphinx.ext.githubpages"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = "Source"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_dmath_double_inline = True # as Jupyter has it
myst_all_links_external = True # resolved below

html_theme = "furo"
html_title = CFG.title
html_baseurl = pages.SITE
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_favicon = "static/favicon.svg"
html_copy_source = html_show_sourcelink = False
pygments_style, pygments_dark_style = "a11y-light", "github-dark"
highlight_language = "none" # of a block that names no language: commands and drawings
smartquotes = False # quotes are often those of code
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = dict(options=dict(enableMenu=False))
html_theme_options = dict(top_of_page_buttons=[], navigation_with_keys=True)

BACK = {page: path for path, page in pages.pages().items()}


def lead(app, tree):
    "Links between notebooks become links between pages; a link that leads nowhere is a warning, and so an error."
    page = app.env.docname
    for node in tree.findall(nodes.reference):
        if not node.get("refuri"): continue
        try: to, rest = pages.lead(node["refuri"], BACK[page])
        except LookupError as e: logging.getLogger(__name__).warning(str(e), location=node)
        else: node["refuri"] = app.builder.get_relative_uri(page, to) + rest if to else rest


def describe(app, page, template, context, tree):
    "The description of a notebook, for search engines."
    if page in BACK:
        context["metatags"] += f'<meta name="description" content="{escape(pages.heading(BACK[page])[1])}">'


def setup(app):
    app.connect("doctree-read", lead)
    app.connect("html-page-context", describe)
