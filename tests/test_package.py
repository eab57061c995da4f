"The built wheel: what it holds, and that it lives without notebooks, plots and widgets."
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.library
ROOT = Path(__file__).parents[1]
EXTRAS = ("nbdev", "execnb", "ghapi", "IPython", "jupyterlab", "ipywidgets", "anywidget", "matplotlib", "seaborn",
          "torchmetrics", "lpips", "h5py", "scipy")
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


def test_every_module_imports_without_extras(wheel):
    modules = sorted(".".join(p.relative_to(wheel).with_suffix("").parts) for p in (wheel/"scgan_nb").rglob("*.py")
                     if p.name not in ("__init__.py", "_modidx.py"))
    assert len(modules) > 20
    code = BLOCK + f"""
import importlib, scgan_nb
assert str(scgan_nb.__file__).startswith({str(wheel)!r})
for m in {modules!r}: importlib.import_module(m)
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
    for extra in ("lab", "widgets", "metrics", "fashion", "dev", "all"): assert f"Provides-Extra: {extra}" in meta


def test_shipped_data_is_small_and_explained():
    for folder in (ROOT/"data").iterdir():
        if not (folder/"config.json").exists(): continue
        config = json.loads((folder/"config.json").read_text())
        assert config["command"], f"{folder.name} does not say which command made it"
        assert sum(f.stat().st_size for f in folder.rglob("*")
                   if f.is_file()) <= 4*2**20, f"{folder.name} is larger than 4 MB"
