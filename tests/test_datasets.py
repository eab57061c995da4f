"Datasets of files across processes: caches that are whole or absent, worker processes, a progress bar in a terminal."
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

from scgan_nb.core.batch import Batch, stack
from scgan_nb.core.registry import known
from scgan_nb.core.runtime import packaged
from scgan_nb.datasets.base import DataError, ImageDataset
from scgan_nb.datasets.folder import FolderDataset
from scgan_nb.datasets.labels import LabelSet
from scgan_nb.worlds.drawn import DrawnWorld


def draw(root, n=12):
    for name in ("images", "masks"): (root/name).mkdir()
    for i in range(n):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(root/"images"/f"{i}.png")
        Image.fromarray(rng.integers(0, 3, (40, 40), dtype=np.uint8)).save(root/"masks"/f"{i}.png")
    return FolderDataset(root/"images", root/"masks", size=24, classes=3)


def build(root):
    data = FolderDataset(root/"images", root/"masks", size=24, classes=3)
    return data.cached(root/"cache", progress=False)[3]["mask"].sum().item()


def test_processes_that_build_the_same_cache_at_once(tmp_path):
    data = draw(tmp_path)
    with multiprocessing.get_context("spawn").Pool(2) as pool: sums = pool.map(build, [tmp_path]*4, chunksize=1)
    assert sums == [data[3]["mask"].sum().item()]*4
    assert [p.name for p in (tmp_path/"cache").iterdir()] == [data.fingerprint()]


def test_a_killed_build_leaves_no_cache(tmp_path):
    data = draw(tmp_path)
    code = ("import sys, time; from pathlib import Path; from scgan_nb.datasets import views\n"
            "from tests.test_datasets import build\n"
            "write = views._write_arrays\n"
            "def slow(*a): write(*a); print('written', flush=True); time.sleep(60)\n"
            "views._write_arrays = slow; build(Path(sys.argv[1]))")
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL); child.wait()
    left = list((tmp_path/"cache").iterdir())
    assert len(left) == 1 and left[0].name.endswith(".unfinished")
    os.utime(left[0], (time.time() - 90000,)*2) # a day later ...
    assert torch.equal(data.cached(tmp_path/"cache", progress=False)[5]["image"], data[5]["image"])
    assert [p.name for p in (tmp_path/"cache").iterdir()] == [data.fingerprint()] # ... it is cleared away


def test_worker_processes_read_the_same_samples(tmp_path):
    data = draw(tmp_path)
    fast = data.cached(tmp_path/"cache", progress=False)
    fast[0] # open maps must not travel to the workers
    for source, method in ((data, "fork"), (fast, "fork"), (fast, "spawn")):
        loader = DataLoader(source, batch_size=4, num_workers=1 if method == "spawn" else 2, collate_fn=stack,
                            multiprocessing_context=method)
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


class Walk(ImageDataset):
    "Pairs of images that are not square, with joints."
    def __init__(self):
        colours = ((0, 0, 0), (9, 0, 0), (0, 9, 0))
        super().__init__(LabelSet("sides", ("ground", "l_arm", "r_arm"), colours, swaps=((1, 2),)), size=(48, 32))
    def __len__(self): return 6
    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        sample = {}
        for role in ("source", "target"):
            sample |= {f"{role}_image": torch.rand(3, 48, 32, generator=g)*2 - 1,
                       f"{role}_mask": torch.randint(0, 3, (48, 32), generator=g),
                       f"{role}_pose": torch.rand(18, 2, generator=g)*30}
        return Batch(sample, index=torch.tensor(i))


def test_pairs_are_checked_stored_cut_and_mirrored_like_single_samples(tmp_path):
    data = Walk().check()
    fast = data.cached(tmp_path, progress=False)
    whole = data.batch(range(6))
    assert {k: a.dtype.name for k, a in fast.arrays.items()} == {
        "source_image": "uint8", "source_mask": "uint8", "source_pose": "float32",
        "target_image": "uint8", "target_mask": "uint8", "target_pose": "float32", "index": "int64"}
    for k, v in fast.batch(range(6)).items(): assert (v - whole[k]).abs().max() <= (1/250 if "image" in k else 0)
    torch.manual_seed(3); cut = fast.augmented((40, 28)).batch(range(6))
    torch.manual_seed(3); top, left, turned = torch.randint(9, (6,)), torch.randint(5, (6,)), torch.rand(6) < .5
    assert 0 < turned.sum() < 6
    partners = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16] # right arm and left arm, ...
    for i in range(6):
        y, x = int(top[i]), int(left[i])
        for role in ("source", "target"):
            mask = whole[f"{role}_mask"][i, y:y + 40, x:x + 28]
            place = whole[f"{role}_pose"][i] - torch.tensor([y, x])
            if turned[i]:
                mask = torch.tensor([0, 2, 1])[mask.flip(-1)]
                place = torch.stack([place[:, 0], 27 - place[:, 1]], -1)[partners]
            seen = cut[f"{role}_pose"][i]
            inside = ~seen.isnan().any(-1)
            assert torch.equal(cut[f"{role}_mask"][i], mask)
            assert torch.equal(inside, ((place >= 0) & (place <= torch.tensor([39, 27]))).all(-1))
            assert torch.allclose(seen[inside], place[inside], atol=1e-4)


def test_every_dataset_is_found_by_its_name_and_states_its_facts():
    classes = known("datasets")
    assert set(classes) >= {"faces", "scenes", "people", "celeba", "celebamask-hq", "fashion", "coco-stuff", "ade20k",
                            "cityscapes", "folder"}
    for name, kind in classes.items():
        assert kind.name == name and issubclass(kind, ImageDataset)
        assert kind.drawn == issubclass(kind, DrawnWorld)
        assert not (kind.drawn and kind.splits) and (kind.drawn or kind.judges is None)
        if kind.judges: assert packaged(kind.judges).is_dir() # a world may wait for its judges, but none names missing ones
        if kind.drawn: assert set(kind.judge_names) >= {"classifier_name", "segmentor_name"}
