"Data sets of files across processes: caches that are whole or absent, worker processes, a progress bar in a terminal."
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from scgan_nb.core.batch import stack
from scgan_nb.datasets.base import DataError
from scgan_nb.datasets.folder import FolderDataset


def draw(root, n=12):
    for name in ("images", "masks"): (root/name).mkdir()
    for i in range(n):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(root/"images"/f"{i}.png")
        Image.fromarray(rng.integers(0, 3, (40, 40), dtype=np.uint8)).save(root/"masks"/f"{i}.png")
    return FolderDataset(root/"images", root/"masks", size=24, classes=3)


def build(root):
    return FolderDataset(root/"images", root/"masks", size=24, classes=3).cached(root/"cache", progress=False)[3]["mask"].sum().item()


def test_processes_that_build_the_same_cache_at_once(tmp_path):
    data = draw(tmp_path)
    with multiprocessing.get_context("spawn").Pool(2) as pool: sums = pool.map(build, [tmp_path] * 4, chunksize=1)
    assert sums == [data[3]["mask"].sum().item()] * 4
    assert [p.name for p in (tmp_path/"cache").iterdir()] == [data.fingerprint()]


def test_a_killed_build_leaves_no_cache(tmp_path):
    data = draw(tmp_path)
    code = ("import sys, time; from pathlib import Path; from scgan_nb.datasets import files; from tests.test_datasets import build\n"
            "write = files._write_arrays\n"
            "def slow(*a): write(*a); print('written', flush=True); time.sleep(60)\n"
            "files._write_arrays = slow; build(Path(sys.argv[1]))")
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL); child.wait()
    left = list((tmp_path/"cache").iterdir())
    assert len(left) == 1 and left[0].name.endswith(".unfinished")
    os.utime(left[0], (time.time() - 90000,) * 2)                       # a day later ...
    assert torch.equal(data.cached(tmp_path/"cache", progress=False)[5]["image"], data[5]["image"])
    assert [p.name for p in (tmp_path/"cache").iterdir()] == [data.fingerprint()]      # ... it is cleared away


def test_worker_processes_read_the_same_samples(tmp_path):
    data = draw(tmp_path)
    fast = data.cached(tmp_path/"cache", progress=False)
    fast[0]                                                             # open maps must not travel to the workers
    for source, method in ((data, "fork"), (fast, "fork"), (fast, "spawn")):
        loader = DataLoader(source, batch_size=4, num_workers=1 if method == "spawn" else 2, collate_fn=stack, multiprocessing_context=method)
        assert torch.equal(torch.cat([b["image"] for b in loader]), data.batch(range(12))["image"])


@pytest.mark.parametrize("terminal", [True, False])
def test_check_and_cache_show_their_progress_in_a_terminal_and_nowhere_else(tmp_path, capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    data = draw(tmp_path).check()
    checked = capsys.readouterr()
    data.cached(tmp_path/"cache", check=False)
    cached = capsys.readouterr()
    assert [("100.00%" in x.out) for x in (checked, cached)] == [terminal, terminal]
    if not terminal: assert checked.out + checked.err + cached.out + cached.err == ""


def test_a_fault_in_a_worker_process_names_its_file(tmp_path):
    data = draw(tmp_path)
    (tmp_path/"masks"/"7.png").unlink()
    with pytest.raises(DataError, match="7.png: no such file"):
        list(DataLoader(data, batch_size=4, num_workers=1, collate_fn=stack, multiprocessing_context="fork"))
