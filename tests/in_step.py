"""Do the notebooks, the library and the README tell the same?  `python -m tests.in_step`

Exports and cleans every notebook, makes the README anew, and names the files that this changed. They are then in step:
commit them.
"""
import hashlib
import subprocess
import sys
from pathlib import Path

from tests import readme

BIN = Path(sys.executable).parent


def fingerprint():
    "The content of everything that is made from the notebooks, and of the notebooks."
    files = [*Path("nbs").rglob("*.ipynb"), *Path("scgan_nb").rglob("*.py"), Path("README.md")]
    return {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists()
            and ".ipynb_checkpoints" not in f.parts}


def main():
    before = fingerprint()
    for step in ("nbdev_clean", "nbdev_export"): subprocess.run([BIN/step], check=True)
    readme.main()
    after = fingerprint()
    changed = sorted(str(f) for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    for f in changed: print(f"out of step: {f}")
    if changed:
        sys.exit("these files were out of step with the notebooks and have been made anew: look at them and commit them")
    print(f"{len(after)} files in step")


if __name__ == "__main__": main()
