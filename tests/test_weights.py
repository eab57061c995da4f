"Damaged, hostile or half written weights: one line that names the file, no code run, never two trainings mixed."
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin as Hub
from safetensors.torch import load_file, save_file

from scgan_nb.core.runtime import packaged
from scgan_nb.core.system import load_system, read_config
from scgan_nb.core.weights import open_weights, where_it_is
from scgan_nb.networks.judges import load_judge
from scgan_nb.networks.vgg import vgg19
from scgan_nb.official.translate import load_official
from tests.blobs import make

pytestmark = pytest.mark.library
JUDGES = "scenes-nets"


def one_line(path, f):
    "The text of the ValueError of a call, which names the file."
    with pytest.raises((ValueError, FileNotFoundError)) as caught: f()
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and "weights_only set to" not in text
    return text


@pytest.fixture
def saved(tmp_path):
    system = make().system
    return type(system), system.save_pretrained(tmp_path/"weights")


def damage(tensors):
    "Wrong tensors by name; each changes one of them."
    name = next(n for n, t in tensors.items() if t.is_floating_point())
    t = tensors[name]
    one = t.clone().flatten(); one[0] = float("inf")
    yield "nan", tensors | {name: t*float("nan")}, "NaN or infinite"
    yield "one inf", tensors | {name: one.view(t.shape)}, "NaN or infinite"
    yield "int8", tensors | {name: t.to(torch.int8)}, "torch.int8"
    yield "bool", tensors | {name: t > 0}, "torch.bool"
    yield "missing", {n: v for n, v in tensors.items() if n != name}, f"missing {name}"
    yield "more", tensors | {"bogus": torch.zeros(1)}, "unexpected bogus"
    yield "shape", tensors | {name: torch.zeros(*t.shape, 2)}, "has shape"
    yield "nothing", {}, "missing"


def test_damaged_tensors_of_a_system(saved):
    cls, folder = saved
    file = folder/"generator"/"model.safetensors"
    good = load_file(file)
    for name, tensors, said in damage(good):
        save_file(tensors, file)
        assert said in one_line(file, lambda: cls.from_pretrained(folder)), name
    whole = file.read_bytes()
    for i in range(0, 16):
        file.write_bytes(whole[:len(whole)*i//16] if i else b"")
        one_line(file, lambda: cls.from_pretrained(folder))
    file.unlink()
    for put in (lambda: None, file.mkdir, lambda: (file.rmdir(), file.symlink_to("nowhere"))):
        put(); one_line(file, lambda: cls.from_pretrained(folder))


def test_half_precision_loads_as_single(saved):
    cls, folder = saved
    file = folder/"generator"/"model.safetensors"
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        save_file({n: t.to(kind) if t.is_floating_point() else t for n, t in load_file(file).items()}, file)
        assert {p.dtype for p in cls.from_pretrained(folder).generator.parameters()} == {torch.float32}


def test_damaged_judges(tmp_path):
    for name, tensors, said in damage(load_file(packaged(JUDGES)/"segmentor"/"model.safetensors")):
        folder = tmp_path/name; (folder/"segmentor").mkdir(parents=True)
        for part in ("config.json", "segmentor/config.json"):
            (folder/part).write_text((packaged(JUDGES)/part).read_text())
        save_file(tensors, folder/"segmentor"/"model.safetensors")
        assert said in one_line(folder/"segmentor"/"model.safetensors", lambda: load_judge(folder, "segmentor")), name


@pytest.mark.parametrize("change, said", [
    ("", "no JSON"), ("{", "no JSON"), ("[]", "got a list"), ("null", "got a NoneType"), ("3", "got a int"),
    ({"hyper": {}}, "'system' is missing"), ({"system": ["a"], "hyper": {}}, "'system' holds a list"),
    ({"system": "x"}, "'hyper' is missing"), ({"system": "x", "hyper": None}, "'hyper' holds a NoneType")])
def test_damaged_config(saved, change, said):
    cls, folder = saved
    (folder/"config.json").write_text(change if isinstance(change, str) else json.dumps(change))
    assert said in one_line(folder/"config.json", lambda: cls.from_pretrained(folder))


@pytest.mark.parametrize("name", ["scgan-faces-64", "semantic-composition-scenes-64", "secgan-faces-64"])
@pytest.mark.parametrize("bad", ["4", None, [], {"a": 1}, -1, 0.5])
def test_hyper_of_a_wrong_kind_names_the_file(tmp_path, name, bad):
    config = read_config(packaged(name))
    for key in config["hyper"]:
        try: hyper = config["hyper"] | {key: bad}
        except TypeError: continue
        (tmp_path/"config.json").write_text(json.dumps(dict(system=config["system"], hyper=hyper)))
        if isinstance(config["hyper"][key], type(bad)) or key in ("size", "width"):
            continue # may be valid, or fails only when images are made
        with pytest.raises((ValueError, FileNotFoundError)) as caught: load_system(tmp_path)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


class Code:
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return os.mkdir, (str(self.mark),)


def test_no_code_runs(tmp_path):
    mark, file = tmp_path/"mark", tmp_path/"evil.pth"
    for write in (lambda: torch.save({"a": Code(mark)}, file), lambda: file.write_bytes(pickle.dumps(Code(mark))),
                  lambda: file.write_bytes(pickle.dumps(Code(mark), 0)),
                  lambda: torch.save({"a": Code(mark)}, file, _use_new_zipfile_serialization=False)):
        write()
        for read in (open_weights, vgg19, lambda f: load_official("scgan/generator", f, c_dim=5)):
            one_line(file, lambda: read(file)); assert not mark.exists()


def test_official_file_of_another_shape(tmp_path):
    file = tmp_path/"odd.pth"
    scalar = torch.ones(())
    for tensors in ({"a": scalar}, {}, {0: scalar}, {"model_s.0.weight": scalar}, [1], 3, "text"):
        torch.save(tensors, file)
        for read in (vgg19, lambda f: load_official("scgan/generator", f, c_dim=5)): one_line(file, lambda: read(file))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork") # Windows has none
@pytest.mark.parametrize("moment", ["first network", "second network", "config", "before renames", "between renames",
                                    "after renames"])
def test_a_killed_process_leaves_the_old_or_the_new(tmp_path, moment):
    old, new = make(seed=1).system, make(seed=2).system
    folder, both = tmp_path/"weights", ("generator", "discriminator")
    old.save_pretrained(folder, both, steps=1)
    pid = os.fork()
    if pid == 0: # the child dies at the moment, without any clean-up
        count = dict(network=0, rename=0)
        rename, write, save = Path.rename, Path.write_text, Hub.save_pretrained
        def dying_rename(self, target):
            if moment == "before renames" and count["rename"] == 0: os._exit(9)
            if moment == "between renames" and count["rename"] == 1: os._exit(9)
            count["rename"] += 1
            return rename(self, target)
        def dying_write(self, *a, **k):
            if moment == "config" and self.name == "config.json" and self.parent.name.endswith(".part"): os._exit(9)
            return write(self, *a, **k)
        def dying_save(self, *a, **k):
            count["network"] += 1
            if moment == f"{('', 'first', 'second')[count['network']]} network": os._exit(9)
            return save(self, *a, **k)
        Path.rename, Path.write_text, Hub.save_pretrained = dying_rename, dying_write, dying_save
        try: new.save_pretrained(folder, both, steps=2)
        finally: os._exit(9)
    os.waitpid(pid, 0)
    found = where_it_is(folder)
    steps = read_config(found)["steps"]
    assert steps == (2 if moment == "after renames" else 1)
    expected = old if steps == 1 else new
    for n in both:
        for k, t in load_file(found/n/"model.safetensors").items():
            assert torch.equal(t, expected.networks[n].state_dict()[k].cpu())
    assert type(old).from_pretrained(folder).networks # found in either place
    new.save_pretrained(folder, both, steps=3)
    assert read_config(folder)["steps"] == 3 and [p.name for p in tmp_path.iterdir()] == ["weights"]
