"""What a hostile or clumsy user gives is refused in words: each input of a list, and what its message must say. All in this process, on files of a few bytes."""
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scgan_nb import cli
from scgan_nb.core.registry import known
from scgan_nb.core.runtime import packaged
from scgan_nb.core.weights import misfit, read_json, whole_folder
from scgan_nb.datasets import views
from scgan_nb.datasets.base import DataError, Fault
from scgan_nb.datasets.celeba import CelebA, CelebAMaskHQ
from scgan_nb.datasets.folder import FolderDataset
from scgan_nb.datasets.labels import LabelSet, read_labels
from scgan_nb.metrics.features import inception, judges
from scgan_nb.official.translate import load_official
from scgan_nb.trainers.checkpoint import DamagedCheckpoint, load_checkpoint, only_run
from scgan_nb.trainers.trainer import state_fault
from tests.blobs import make

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes") # Windows has none
TINY = dict(system="scgan", size=32, width=8, set="z_dim=16", batch=4, device="cpu", decay=-1, dataset="n=8", sample=0)


def says(words, f, *args, **kwargs):
    "A call raises an error of this library that holds the words."
    with pytest.raises((ValueError, OSError)) as caught: f(*args, **kwargs)
    assert words in str(caught.value), caught.value


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "Four images with masks, classes and attributes, in the working folder."
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        for part, shape, top in (("images", (32, 32, 3), 256), ("masks", (32, 32), 3)):
            Path(part).mkdir(exist_ok=True)
            a = np.random.default_rng(i).integers(0, top, shape, dtype=np.uint8)
            Image.fromarray(a).save(f"{part}/{i}.png")
    Path("labels.txt").write_text("a 0 0 0\nb 1 0 0\nc 2 0 0\n")
    Path("attrs.csv").write_text("file,Old\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(4)))
    return tmp_path


def open_folder(**kw): return FolderDataset(".", size=32, **kw).check(progress=False)


@pytest.mark.parametrize("text,words", [
    ("", "labels.txt: label set 'labels' has 0 classes"), ("# none\n", "labels.txt: label set 'labels' has 0 classes"),
    ("a 0 0 0\na 1 1 1\n", "labels.txt: label set 'labels' uses a class name twice"),
    ("a ² 0 0\n", "labels.txt, line 1: expected"), ("a " + "1"*5000 + " 0 0\n", "labels.txt, line 1: expected"),
    ("a\0 0 0 0\n", "labels.txt: label set 'labels' has a class 'a\\x00'"),
    ("".join(f"c{i} 0 0 0\n" for i in range(256)), "labels.txt: label set 'labels' has 256 classes")])
def test_label_files(tmp_path, text, words):
    (tmp_path/"labels.txt").write_text(text)
    says(words, read_labels, tmp_path/"labels.txt")


@pytest.mark.parametrize("classes,words", [
    (10**9, "classes=1000000000 must be"), (0, "classes=0 must be"), (["a", "a"], "uses a class name twice"),
    (["", "b"], "has a class ''"), ("x", "classes='x' is neither a label set"), ([1, 2], "classes=[1, 2] must be a list of texts"), ([], "0 classes")])
def test_classes(folder, classes, words): says(words, open_folder, classes=classes)


def test_colours():
    for colour in ((0, 0), (0, 0, 300), ("a", 0, 0), 3): says("give three numbers", LabelSet, "own", ("x",), (colour,))


def test_a_link_that_leads_nowhere_is_no_absent_folder(folder):
    Path("images").rename("others"); Path("images").symlink_to("nowhere")
    says("images: no such folder", open_folder)


def test_one_fault_is_one_line():
    assert str(DataError([Fault("a.png", "no such file", "add it")], "Folder")) == "Folder: a.png: no such file. Fix: add it"


@pytest.fixture
def cache(folder):
    "The folder of a cache of these images."
    return open_folder().cached("cache", progress=False).folder


def spoiled(cache, change):
    change(cache); views._whole.clear()
    return open_folder().cached("cache", progress=False, check=False)[0]


def about(**changes):
    def spoil(f): (f/"about.json").write_text(json.dumps(json.loads((f/"about.json").read_text()) | changes))
    return spoil


@pytest.mark.parametrize("change,words", [
    (about(n=-4), "expected n, keys"), (about(n=0), "expected n, keys"), (about(n=400), "expected numbers of 400"),
    (about(keys=["image"]), "expected n, keys"), (about(crc32=None), "expected n, keys"), (about(n=True), "expected n, keys"),
    (about(keys=["../x"], crc32={"../x": 1}), "is damaged"), (lambda f: (f/"about.json").write_text("["*10**5), "no readable"),
    (lambda f: os.truncate(f/"mask.npy", 200), "mask.npy cannot be read"), (lambda f: (f/"mask.npy").unlink(), "mask.npy is missing"),
    (lambda f: np.save(f/"mask.npy", np.zeros(())), "mask.npy holds"), (lambda f: np.save(f/"mask.npy", np.full(4, "a")), "mask.npy"),
    pytest.param(lambda f: ((f/"mask.npy").unlink(), os.mkfifo(f/"mask.npy")), "mask.npy: a pipe", marks=pipes),
    pytest.param(lambda f: ((f/"about.json").unlink(), os.mkfifo(f/"about.json")), "no readable about.json", marks=pipes)])
def test_a_damaged_cache_is_named_without_a_check(cache, change, words):
    says(words, spoiled, cache, change)
    says("Remove this folder", spoiled, cache, lambda f: None)


NAMES = "Black_Hair Blond_Hair Brown_Hair Male Young"


def celeba(root):
    for part, mode in (("images", "RGB"), ("segmentation", "L")):
        (root/part).mkdir()
        for i in range(3): Image.new(mode, (32, 32)).save(root/part/f"{i}.png")
    (root/"list_attr_celeba.txt").write_text(f"3\n{NAMES}\n" + "".join(f"{i}.png 1 1 1 1 1\n" for i in range(3)))
    return root


@pytest.mark.parametrize("file,text,words", [
    ("list_attr_celeba.txt", f"three\n{NAMES}\n0.png 1 1 1 1 1\n", "'three' announced, 1 images listed"),
    ("list_attr_celeba.txt", f"1\n{NAMES}\n0\0.png 1 1 1 1 1\n", "is no name of a file"),
    ("list_eval_partition.txt", "0.png 0\n1.png 0\n2.png 0\n0.png 1\n", "0.png is there 2 times"),
    ("list_eval_partition.txt", "0.png " + "1"*5000 + "\n", "line 1: "),
    ("identity_CelebA.txt", f"0.png {10**30}\n1.png 1\n2.png 1\n", "identity_CelebA.txt, line 1")])
def test_lists_of_celeba(tmp_path, file, text, words):
    celeba(tmp_path); (tmp_path/file).write_text(text)
    says(words, CelebA, tmp_path, split="all", crop=None)


@pytest.mark.parametrize("change,words", [
    (lambda r: Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)).save(r/"00000_skin.png"),
     "00000_skin.png: more than two values"),
    (lambda r: ((r/"more").mkdir(), Image.new("L", (32, 32)).save(r/"more"/"00000_skin.png")), "the same part as"),
    (lambda r: Image.new("RGB", (32, 32)).save(r.parents[1]/"CelebA-HQ-img"/"00.jpg"), "the same number as"),
    (lambda r: (r.parents[1]/"train_list.txt").write_text("\n"), "train_list.txt: an empty list")])
def test_parts_of_celebamask(tmp_path, change, words):
    parts = tmp_path/"CelebAMask-HQ-mask-anno"/"0"; parts.mkdir(parents=True); (tmp_path/"CelebA-HQ-img").mkdir()
    for i in range(2):
        Image.new("RGB", (32, 32)).save(tmp_path/"CelebA-HQ-img"/f"{i}.jpg")
        Image.new("L", (32, 32), 255).save(parts/f"0000{i}_skin.png")
    change(parts)
    split = "train" if (tmp_path/"train_list.txt").exists() else "all"
    says(words, lambda: CelebAMaskHQ(tmp_path, split=split).check(progress=False))


@pytest.mark.parametrize("change,words", [
    (lambda f: (f/"state.json").write_text("[]"), "changed"), (lambda f: (f/"manifest.json").write_text('{"state.json": {"bytes": -1}}'), "says"),
    pytest.param(lambda f: ((f/"manifest.json").unlink(), os.mkfifo(f/"manifest.json")), "no readable manifest.json", marks=pipes)])
def test_checkpoints(tmp_path, change, words):
    trainer = make(tmp_path, save_every=1); trainer.fit(1)
    step = tmp_path/"checkpoints"/"step_00000001"
    if words == "changed": words, size = "state.json is truncated", None
    change(step)
    with pytest.raises(DamagedCheckpoint, match=words): load_checkpoint(step)
    state = dict(format=2, step=1, run={}, frozen="", rates="", history=[], recent=[["x", "generator", {"adv": 1}]], scaler={})
    assert "losses" in state_fault(state, step.name)


@pipes
def test_a_pipe_in_place_of_a_lock(tmp_path):
    os.mkfifo(tmp_path/".lock")
    says(".lock: a pipe or a device", lambda: only_run(tmp_path).__enter__())


def test_a_history_of_somebody_else_is_moved_aside(tmp_path):
    (tmp_path/"history.jsonl").write_text("mine")
    make(tmp_path, log_every=1).fit(1)
    assert [p.read_text() for p in tmp_path.glob("history.foreign*")] == ["mine"]
    assert json.loads((tmp_path/"history.jsonl").read_text())["step"] == 1


def test_drafts_of_somebody_else_stay(tmp_path):
    (tmp_path/".w.part").mkdir(); (tmp_path/".w.part"/"mine").write_text("")
    with whole_folder(tmp_path/"w") as draft: (draft/"a").write_text("1")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".w.part", "w"]


def test_errors_of_workers_arrive_as_they_were_raised(folder):
    data = open_folder(); Path("images/2.png").write_bytes(b"x")
    with pytest.raises(DataError, match="images/2.png: cannot be read") as caught:
        make(data=data, batch=4, workers=1, width=8, device="cpu").fit(1)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("tensor", [torch.zeros(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(2).to(torch.float8_e5m2),
                                    torch.quantize_per_tensor(torch.zeros(2), .1, 0, torch.qint8)])
def test_tensors_that_are_no_weights(tensor): assert misfit("a", tensor, torch.zeros(2)).startswith("a ")


def test_a_number_of_too_many_digits(tmp_path):
    (tmp_path/"a.json").write_text('{"a": ' + "1"*5000 + "}")
    says("a.json: no JSON", read_json, tmp_path/"a.json")


@pytest.mark.parametrize("change,words", [(dict(name=3), "name=3 must be a text"), (dict(size=0), "size=0 must be"),
                                          (dict(size=2**30), "size=1073741824"), (dict(width=None), "width=None"),
                                          (dict(width=8.0), "width=8.0 must be a whole number")])
def test_values_of_judges(tmp_path, change, words):
    import shutil
    shutil.copytree(packaged("faces-nets"), tmp_path/"j")
    file = tmp_path/"j"/"segmentor"/"config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    says(f"{file}: PictureSegmentor refuses these values: {words}", judges, tmp_path/"j")


def test_inception_files(tmp_path):
    file = tmp_path/"i.pth"
    for write in (lambda: file.write_bytes(b""), lambda: file.write_text("text"),
                  lambda: torch.save({"a": torch.zeros(1)}, file)):
        write(); says("i.pth", inception, file)



@pytest.mark.parametrize("options,words", [
    (dict(size=4096), "--size 4096 must be"), (dict(batch=65536), "--batch 65536 must be"), (dict(width=65536), "--width 65536 must"),
    (dict(width=8192), "lower --width"), (dict(set="classes=256"), "classes=256 must be"), (dict(dataset="labels="), "labels= is empty"),
    (dict(set="z_dim=1048576", width=512), "GB")])
def test_what_no_machine_can_hold(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended: cli.scgan_train(**TINY | dict(no_check=True) | options)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and words in said and len(said.splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [cli.scgan_sample, cli.scgan_eval])
def test_more_samples_than_there_are(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended: command("scgan-faces-64", n=10**9, device="cpu")
    assert ended.value.code == 2 and "--n 1000000000: there are 100000 samples: lower --n" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), "abc", [], None, True, 10**30])
def test_a_hyperparameter_of_any_system_and_any_value_has_one_line(value):
    "Each is accepted or refused with a ValueError; what is accepted can be built."
    for name, cls in known("trainers").items():
        fields = cls.Hyper.__dataclass_fields__
        for key in fields:
            try: cls.Hyper(**{key: value})
            except ValueError as e: assert key in str(e) and "\n" not in str(e), (name, key, e)
