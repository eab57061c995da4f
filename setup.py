"The package description, read from settings.ini; see https://nbdev.fast.ai."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
extras = {k.removesuffix("_requirements"): v.split() for k, v in cfg.items() if k.endswith("_requirements")}
extras["all"] = sorted({r for name, reqs in extras.items() if name not in ("docs", "dev") for r in reqs})


def absolute(text):
    "A README whose links and images lead to the repository from wherever it is shown, as on a package index."
    pages, files = f"{cfg['git_url']}/blob/{cfg['branch']}/", f"{cfg['git_url']}/raw/{cfg['branch']}/"
    link = re.compile(r"(!?)(\[[^\]]*\]\()(?![a-z]+:|#)")
    return link.sub(lambda m: f"{m[1]}{m[2]}{files if m[1] else pages}", text)


# data/ lies at the top of the repository and travels as scgan_nb/data
data = [str(p.relative_to("data")) for p in Path("data").rglob("*") if p.is_file()]

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], keywords=cfg["keywords"],
    author=cfg["author"], author_email=cfg["author_email"], url=cfg["git_url"], license="Apache-2.0", license_files=["LICENSE"],
    long_description=absolute(Path("README.md").read_text(encoding="utf-8")), long_description_content_type="text/markdown",
    packages=[p for p in find_packages() if p.split(".")[0] == cfg["lib_path"]] + ["scgan_nb.data"], package_dir={"scgan_nb.data": "data"},
    package_data={"scgan_nb.data": data, "scgan_nb.widgets": ["*.js", "*.css"]}, zip_safe=False,
    python_requires=f">={cfg['min_python']}", install_requires=cfg["requirements"].split(), extras_require=extras,
    entry_points={"console_scripts": [s.strip() for s in cfg["console_scripts"].splitlines()],
                  "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]}, # other projects link to our names by it
    classifiers=["Development Status :: 3 - Alpha", "Intended Audience :: Science/Research", "Intended Audience :: Education",
                 "Programming Language :: Python :: 3",
                 "Topic :: Scientific/Engineering :: Artificial Intelligence"],
)
