"""Files of every dataset, cache, checkpoint and saved system, damaged in any way: what is wrong is told, or what is read is as it was.
`pytest --hypothesis-profile=thorough tests/test_properties*.py` goes on for hours."""
import inspect
import json
import warnings
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgan_nb.core.batch import check_batch
from scgan_nb.core.registry import find, known
from scgan_nb.core.system import System, load_system, save_system
from scgan_nb.datasets import views
from scgan_nb.official.translate import load_official, nested, official_weights, save_official
from tests.blobs import make, tensors
from tests.fire import BUILDERS, files_in, fuzz, harm, harmed, told

DATASETS = known("datasets")
READ = [name for name, cls in DATASETS.items() if not cls.drawn]
SYSTEMS = {name: cls for name, cls in known("trainers").items() if issubclass(cls, System)}


@pytest.mark.parametrize("name", READ)
def test_files_of_datasets(name, tmp_path):
    "A dataset with a damaged file says which, or its samples are as samples must be."
    ways = BUILDERS[name](tmp_path) or [{}]

    def look(given):
        data = DATASETS[name](tmp_path, size=16, threads=1, **given).check(progress=False)
        check_batch(data.batch(range(len(data))), len(data.classes) or None)

    for given_ in ways: look(given_)

    @fuzz(25)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(files_in(tmp_path)))
        content = data.draw(harm(file), label=str(file))
        with harmed(file, content): told(lambda: look(data.draw(st.sampled_from(ways))), tmp_path, file.name)

    check()


def equal(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", DATASETS)
def test_caches(name, tmp_path):
    "A damaged cache is refused, or its samples are those that were written."
    cls = DATASETS[name]
    if not cls.drawn: BUILDERS[name](tmp_path)
    source = cls(size=16, n=3) if cls.drawn else cls(tmp_path, size=16, threads=1)
    whole = source.cached(tmp_path/"cache", progress=False).batch(range(len(source)))

    def look():
        views._whole.clear() # this process has not seen it yet
        data = source.cached(tmp_path/"cache", progress=False)
        return len(data), data.batch(range(len(data)))

    @fuzz(15)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(files_in(tmp_path/"cache")))
        with harmed(file, data.draw(harm(file, single=data.draw(st.booleans())), label=file.name)):
            found, refused = told(look, tmp_path)
        assert refused or found[0] == len(source) and equal(found[1], whole)

    check()


def test_checkpoints(tmp_path):
    "A run goes on from a whole checkpoint with its numbers, and says so if it is not the newest; or it says what is wrong."
    trainer, states = make(tmp_path), {}
    for step in (1, 2, 3): trainer.fit(step); states[step] = {k: v.clone() for k, v in tensors(trainer).items()}
    history = trainer.history

    def look():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            return make(tmp_path), [str(w.message) for w in said]

    @fuzz(40)
    @given(st.data())
    def check(data):
        folder = tmp_path/"checkpoints"/"step_00000003"
        file = data.draw(st.sampled_from(files_in(folder)))
        with harmed(file, data.draw(harm(file, single=data.draw(st.booleans())), label=file.name)):
            found, refused = told(look, folder, file.name)
        if refused: return
        again, said = found
        assert equal(tensors(again), states[again.steps]) and again.history == history
        assert again.steps == 3 or again.steps == 2 and any("step_00000003" in s and "goes on from step_00000002" in s for s in said)

    check()


def small(cls):
    "A small system of a class, on data of its world."
    data = find("datasets", cls.world)(n=4)
    few = {f.name: 8 for f in fields(cls.Hyper) if "width" in f.name or f.name.endswith("_dim")}
    return cls.for_data(data, **few)


@pytest.mark.parametrize("name", SYSTEMS)
def test_saved_systems(name, tmp_path):
    "Damaged weights are refused, or they are what was written."
    system = small(SYSTEMS[name])
    save_system(system, tmp_path/"weights", steps=3)

    def look(): return load_system(tmp_path/"weights")
    whole = look()

    @fuzz(25)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(files_in(tmp_path/"weights")))
        with harmed(file, data.draw(harm(file, single=data.draw(st.booleans())), label=str(file))):
            found, refused = told(look, tmp_path, "there is no system")
        assert refused or found.h == whole.h and equal(found.state_dict(), whole.state_dict()), "other numbers were loaded"

    check()


# what an official network is built with, where the defaults are not its form
FORMS = {"scgan/generator": dict(order="at_once")}


def small_net(net, few):
    "A small network of a class, and the arguments that make it."
    for p in list(inspect.signature(net.__init__).parameters.values())[1:]:
        if "width" in p.name: few[p.name] = 4
        elif p.name.endswith("_dim") or p.default is p.empty: few[p.name] = 3
    return net(**few), few


@st.composite
def other_tensors(draw, tensors):
    "A state dict in which one tensor is another, has another name, or is not there."
    name = draw(st.sampled_from(sorted(tensors))); t = tensors[name]
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.uint8]
    change = draw(st.sampled_from([
        lambda: {name: t.to(draw(st.sampled_from(kinds)))}, lambda: {name: t*float("nan")}, lambda: {name: t[None]},
        lambda: {name: t.flatten()[:-1]}, lambda: {name: t.to_sparse()}, lambda: {name: None}, lambda: {},
        lambda: {name: t.new_zeros(0)}, lambda: {draw(st.text(max_size=9)): t}, lambda: {name: t, "more": t}, lambda: {name: [t]},
        lambda: {name: t.to("meta")}, lambda: {draw(st.integers()): t}]))()
    return {k: v for k, v in tensors.items() if k != name} | change


@pytest.mark.parametrize("name", known("official"))
def test_official_files(name, tmp_path):
    "A file of the paper's own code that is damaged, or not quite what is expected, is refused; or it gives the same network."
    entry = find("official", name); net, given_ = small_net(entry.net, dict(FORMS.get(name, {})))
    file = tmp_path/"official.pth"
    save_official(net, file, name)
    def look(): return load_official(name, file, **given_).state_dict()
    whole, content = look(), official_weights(net, name)

    @fuzz(8)
    @given(st.data())
    def check(data):
        if data.draw(st.booleans()):
            with harmed(file, data.draw(harm(file, single=True))): found, refused = told(look, file)
        else:
            with harmed(file, b""):
                torch.save(nested(data.draw(other_tensors(content)), entry.within), file)
                found, refused = told(look, file)
        assert refused or all((found[k] - v).abs().max() < .01 for k, v in whole.items() if v.numel()), "other numbers were loaded"

    check()
