"The built wheel: what it holds, and that it lives without notebooks, plots and widgets."
import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scgan_nb import cli
from scgan_nb.core.extras import EXTRAS as PACKAGES

pytestmark = pytest.mark.library
ROOT = Path(__file__).parents[1]
EXTRAS = ("nbdev", "execnb", "ghapi", "IPython", "jupyterlab", "ipywidgets", "anywidget", "matplotlib", "seaborn",
          "torchmetrics", "lpips", "h5py", "scipy", "imageio", "imageio_ffmpeg")
BLOCK = f"""
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {EXTRAS!r}: raise ModuleNotFoundError(f'{{name}} is not installed in this test')
sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "A wheel of this checkout, unpacked."
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w",
                    str(folder), str(ROOT)], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as z: z.extractall(folder/"site")
    return folder/"site"


def run(code, site):
    "Run code in a fresh interpreter where only `site` holds scgan_nb."
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"],
                          capture_output=True, text=True, cwd=site.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def settings():
    config = ConfigParser(delimiters=["="]); config.read(ROOT/"settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def brought(requirements):
    "The distributions that pip installs for some requirements, theirs included, as they are here."
    found, todo = {}, [(Requirement(r), {""}) for r in requirements]
    while todo:
        requirement, extras = todo.pop()
        if requirement.marker and not any(requirement.marker.evaluate(dict(extra=e)) for e in extras): continue
        name, wanted = canonicalize_name(requirement.name), {"", *requirement.extras}
        if wanted <= found.get(name, set()): continue
        found[name] = found.get(name, set()) | wanted
        todo += [(Requirement(r), wanted) for r in distribution(name).requires or ()]
    return found


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory):
    "The environment of a plain `pip install`: the wheel and what it requires, no extra. Returns a runner of programs."
    folder = tmp_path_factory.mktemp("plain")/"site"
    folder.mkdir()
    for name in brought(settings()["requirements"].split()):
        files = [f for f in distribution(name).files or () if ".." not in f.parts and f.parts[0] != "__pycache__"]
        for top in {f.parts[0] for f in files}:
            if not (folder/top).exists(): (folder/top).symlink_to(distribution(name).locate_file(top))
    for part in wheel.iterdir(): (folder/part.name).symlink_to(part)
    def run(*arguments, cwd=folder.parent, status=0):
        "Run python without site-packages; returns what it printed."
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | dict(
            PYTHONPATH=str(folder), OMP_NUM_THREADS="1")
        done = subprocess.run([sys.executable, "-S", *arguments], capture_output=True, text=True, cwd=cwd,
                              env=environment)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr
    return run


def test_a_plain_install_trains_and_samples(plain, tmp_path):
    where = plain("-c", "import scgan_nb; print(scgan_nb.__file__)")
    assert "plain" in where, where
    there = plain("-c", f"from scgan_nb.core.extras import has\nprint([p for p in {list(PACKAGES)} if has(p)])")
    assert there == "[]\n" # the test would prove nothing otherwise
    assert "scgan-faces-64" in plain("-m", "scgan_nb", "list")
    tiny = "train scgan --data faces --size 32 --width 8 --steps 2 --batch 2 --out run --no-check".split()
    said = plain("-m", "scgan_nb", *tiny, "--set", "d_width=8 s_width=8", "--dataset", "n=8", cwd=tmp_path)
    assert "Next: scgan_sample run/weights" in said
    for weights in ("scgan-faces-64", "semantic-composition-scenes-64"):
        assert "4 images, " in plain("-m", "scgan_nb", "sample", weights, "--n", "4", cwd=tmp_path)
    assert len(list((tmp_path/"out/samples").glob("000?.png"))) == 4


def test_what_needs_an_extra_says_so_before_it_starts(plain, tmp_path):
    said = plain("-m", "scgan_nb", "eval", "scgan-faces-64", cwd=tmp_path, status=2)
    assert said == 'scgan_eval: this command needs torchmetrics: pip install "scgan_nb[metrics]"\n'
    said = plain("-m", "scgan_nb", "demo", cwd=tmp_path, status=2)
    assert said == ('scgan_demo: this command needs torchmetrics and matplotlib: pip install '
                    '"scgan_nb[metrics,figures]"\n')
    assert not list(tmp_path.iterdir())


def imported(tree):
    "(name of a package, the functions and classes around it) for each import."
    def visit(node, around):
        if isinstance(node, ast.Import): yield from ((a.name.split(".")[0], around) for a in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0], around
        inside = (*around, node) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else around
        for child in ast.iter_child_nodes(node): yield from visit(child, inside)
    return visit(tree, ())


SOURCES = {p: ast.parse(p.read_text(encoding="utf-8")) for p in sorted((ROOT/"scgan_nb").rglob("*.py"))}


def test_every_extra_is_asked_for_by_the_one_helper():
    """What imports the package of an extra, a function or a whole module, calls `need` with its name; a metric's base
    class does it for all."""
    seen = set()
    for path, tree in SOURCES.items():
        for package, around in imported(tree):
            if package not in PACKAGES: continue
            seen.add(package)
            if any(isinstance(a, ast.ClassDef) and {ast.unparse(b) for b in a.bases} & {"Metric", "PairMean"}
                   for a in around): continue
            if path.name == "base.py" and package == "torchmetrics": continue # the base class itself
            calls = [ast.unparse(n) for a in around or tree.body for n in ast.walk(a) if isinstance(n, ast.Call)]
            assert any(c.startswith("need(") and repr(package) in c for c in calls), (
                f"{path.name} imports {package} without need(..., {package!r})")
    assert {"matplotlib", "seaborn", "torchmetrics", "h5py", "scipy", "imageio"} <= seen
    for package, extra in PACKAGES.items():
        names = [Requirement(r).name for r in settings()[f"{extra}_requirements"].split()]
        assert package.replace("_", "-") in names, f"extra {extra} does not bring {package}"


# torchmetrics computes InceptionV3's features with torch-fidelity, imageio writes films with imageio-ffmpeg; JupyterLab
# is a program
NOT_IMPORTED, CALLED = {"torch-fidelity", "imageio-ffmpeg", "jupyterlab"}, {"pillow": "PIL"}


def test_every_requirement_is_used():
    library = {package for tree in SOURCES.values() for package, _ in imported(tree)}
    lessons = library | {name for notebook in (ROOT/"nbs").rglob("*.ipynb")
                         for name in re.findall(r"\b(?:import|from) (\w+)", notebook.read_text(encoding="utf-8"))}
    website = {name for file in (ROOT/"nbs/_website").glob("*.py") for name in re.findall(r"\w+", file.read_text())}
    for key, text in settings().items():
        if not key.endswith("requirements") or key == "dev_requirements": continue
        there = {"requirements": library, "docs_requirements": website}.get(key, lessons) # lessons use widgets, too
        for name in (Requirement(r).name for r in text.split()):
            used = CALLED.get(name, name.replace("-", "_")) in there or name in NOT_IMPORTED
            assert used, f"{key} of settings.ini asks for {name}, which is imported nowhere"


SERVERS = {"python-fasthtml", "starlette", "uvicorn", "fastapi", "flask", "django", "tornado", "aiohttp", "hypercorn",
           "gunicorn", "waitress", "jupyter-server", "uvloop", "websockets"}


def test_the_library_alone_brings_no_web_server():
    assert not SERVERS & set(brought(settings()["requirements"].split()))
    assert {"jupyter-server", "tornado"} <= set(brought(settings()["lab_requirements"].split())) # it would be seen


def test_every_module_imports_without_extras(wheel):
    "Widgets are their extra: those modules say what to install."
    modules = sorted(".".join(p.relative_to(wheel).with_suffix("").parts) for p in (wheel/"scgan_nb").rglob("*.py")
                     if p.name not in ("__init__.py", "_modidx.py"))
    assert len(modules) > 20
    code = BLOCK + f"""
import importlib, scgan_nb
assert str(scgan_nb.__file__).startswith({str(wheel)!r})
for m in {modules!r}:
    try: importlib.import_module(m)
    except ModuleNotFoundError as e:
        assert m.startswith("scgan_nb.widgets.") and str(e).endswith('pip install "scgan_nb[widgets]"'), (m, e)
"""
    run(code, wheel)


def test_import_is_light(wheel):
    heavy = run("import scgan_nb; print([m for m in ('torch', 'torchvision', 'matplotlib', 'ipywidgets', 'IPython') if "
                "m in sys.modules])", wheel)
    assert heavy == "[]"
    library = run("import scgan_nb.trainers.scgan; import scgan_nb.trainers.trainer; print([m for m in "
                  "('torchvision.models', 'matplotlib', 'ipywidgets', 'IPython', 'torchmetrics') if m in sys.modules])",
                  wheel)
    assert library == "[]"


def test_shipped_weights_load_from_the_wheel(wheel):
    code = BLOCK + """
import torch
from scgan_nb.worlds.faces import Faces
from scgan_nb.core.system import load_system
s = load_system('scgan-faces-64')
d = Faces(64, labels='portrait10', attrs=s.attr_names)
print(tuple(s.sample(d.batch(torch.arange(2))).shape))
"""
    assert run(code, wheel) == "(2, 3, 64, 64)"


def test_metadata(wheel):
    meta = next(wheel.glob("*.dist-info/METADATA")).read_text()
    needs = [line.removeprefix("Requires-Dist: ") for line in meta.splitlines() if line.startswith("Requires-Dist: ")]
    bare = [n for n in needs if "extra ==" not in n]
    assert {n.split("<")[0].split(">")[0].split(",")[0] for n in bare} == {"torch", "torchvision", "accelerate",
                                                                           "huggingface_hub", "huggingface-hub",
                                                                           "safetensors", "fastcore", "fastprogress",
                                                                           "numpy",
                                                                           "pillow"} - ({"huggingface-hub"}
            if any("huggingface_hub" in n for n in bare) else {"huggingface_hub"})
    assert all("<" in n and ">=" in n for n in needs), [n for n in needs if "<" not in n or ">=" not in n]
    for extra in ("figures", "lab", "widgets", "metrics", "fashion", "docs", "dev", "all"):
        assert f"Provides-Extra: {extra}" in meta


def test_the_description_has_no_relative_links(wheel):
    "A package index shows the README at another address."
    text = next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8").partition("\n\n")[2]
    home = settings()["git_url"]
    targets = re.findall(r"(!?)\[[^\]]*\]\(([^)]*)\)", text)
    assert len(targets) > 20 and any(image for image, _ in targets)
    for image, target in targets:
        assert target.startswith("https://"), target
        if not target.startswith(home): continue
        kind, branch, path = target.removeprefix(f"{home}/").split("/", 2)
        assert (kind, branch) == ("raw" if image else "blob", settings()["branch"])
        assert (ROOT/path).exists(), f"{target} leads to nothing"
    assert cli.HOME == home # the demo names it


def test_every_entry_point_leads_somewhere(plain, wheel):
    "The commands, and nbdev's index, by which other nbdev projects link to the names of this one."
    code = """from importlib.metadata import distribution
for e in distribution('scgan_nb').entry_points: print(e.group, e.name, callable(e.load()) or sorted(e.load()))"""
    said = plain("-c", code).splitlines()
    assert sorted(line.split()[1] for line in said if line.startswith("console_scripts") and line.endswith("True")) == [
        "scgan_demo", "scgan_eval", "scgan_list", "scgan_sample", "scgan_train"]
    assert "nbdev scgan_nb ['settings', 'syms']" in said


def test_shipped_data_is_small_and_explained():
    for folder in (ROOT/"data").iterdir():
        if not (folder/"config.json").exists(): continue
        config = json.loads((folder/"config.json").read_text())
        assert config["command"], f"{folder.name} does not say which command made it"
        assert sum(f.stat().st_size for f in folder.rglob("*")
                   if f.is_file()) <= 6*2**20, f"{folder.name} is larger than 6 MB"
