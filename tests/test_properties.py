"""Hyper-parameters and arguments of everything that is registered: a value is accepted and comes back as it was, or is refused in one line that
names it. `pytest --hypothesis-profile=thorough tests/test_properties*.py` goes on for hours."""
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgan_nb.cli import open_data, parse_settings
from scgan_nb.core.registry import find, known
from scgan_nb.core.system import Hyper, System, make_from_config, read_config
from tests.fire import ANYTHING, BUILDERS, fuzz, may_be, meant_by, parameters, texts_in, told, values_for

SYSTEMS = {name: cls for name, cls in known("trainers").items() if issubclass(cls, System)}
DATASETS = known("datasets")
CONFIGS = [pytest.param(cls, config, id=f"{name}-{config or 'default'}")
           for name, cls in SYSTEMS.items() for config in [None, *cls.configs]]
same = lambda a, b: json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def hyper_of(cls, config): return cls.configs[config] if config else cls.Hyper


def texts_of(cls):
    "For each hyper-parameter of a system the texts that its configurations hold."
    all_of = [vars(h()) for h in [cls.Hyper, *cls.configs.values()]]
    return {f.name: texts_in(*(h.get(f.name) for h in all_of)) for f in fields(cls.Hyper)}


@st.composite
def changes(draw, cls, config, most=2):
    "Some hyper-parameters with new values."
    kinds, texts = get_type_hints(hyper_of(cls, config)), texts_of(cls)
    names = draw(st.lists(st.sampled_from(sorted(texts)), min_size=1, max_size=most, unique=True))
    return {n: draw(values_for(kinds[n], texts[n])) for n in names}


@pytest.mark.parametrize("cls, config", CONFIGS)
def test_hyper(cls, config):
    "A field takes what its annotation means, and is then the same after JSON; anything else is refused by name."
    kind = hyper_of(cls, config); kinds, texts, start = get_type_hints(kind), texts_of(cls), kind()

    @fuzz(3)
    @given(st.data())
    def check(name, data):
        value = data.draw(values_for(kinds[name], texts[name]), label=name)
        h, refused = told(lambda: replace(start, **{name: value}), name)
        if h is None: return
        assert may_be(value, kinds[name]), f"{name}={value!r} is no {kinds[name]}, and was accepted"
        again = kind(**json.loads(json.dumps(asdict(h), allow_nan=False)))
        assert again == h and same(asdict(again), asdict(h))
        assert same(asdict(h), asdict(start) | {name: value})

    for f in fields(kind): check(f.name)


def on_meta(make):
    with torch.device("meta"): return make()


@pytest.mark.parametrize("cls, config", CONFIGS)
def test_systems_are_built_saved_and_read(cls, config, tmp_path):
    "A system is built, or refuses by name; `config.json` holds what builds the same system again."
    world = find("datasets", cls.world)(n=4)
    make = lambda **c: cls.for_data(world, config, **c)

    @fuzz(3)
    @given(changes(cls, config))
    def check(given):
        system, refused = told(lambda: on_meta(lambda: make(**given)), *given)
        if system is None: return
        text = json.dumps(dict(system=cls.name, hyper=system.hyper), allow_nan=False)
        (tmp_path/"config.json").write_text(text)
        again = on_meta(lambda: make_from_config(cls, read_config(tmp_path)["hyper"], tmp_path/"config.json"))
        assert again.h == system.h and again.updates == system.updates
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in system.state_dict().items()}

    check()


@pytest.mark.parametrize("cls, config", CONFIGS)
@pytest.mark.parametrize("value", [10**9, "4", []], ids=str)
def test_a_value_that_once_took_for_ever(cls, config, value):
    "A count that no network can have is refused before anything is built, and so is a text that is no number."
    world = find("datasets", cls.world)(n=4)
    for f in fields(cls.Hyper):
        if f.name.startswith(("n_", "num_", "class", "attr", "width")):
            told(lambda: on_meta(lambda: cls.for_data(world, config, **{f.name: value})), f.name)


@pytest.mark.parametrize("cls, config", CONFIGS)
def test_config_json(cls, config, tmp_path):
    "Whatever stands in `config.json`, an error names the file."
    h = asdict(hyper_of(cls, config)())

    @fuzz(6)
    @given(st.data())
    def check(data):
        whole = dict(system=cls.name, hyper=h)
        where = data.draw(st.sampled_from([whole, h]))
        key = data.draw(st.sampled_from(sorted(where)) | st.text(max_size=3))
        changed = {k: v for k, v in where.items() if k != key} | data.draw(st.just({}) | st.builds(
            lambda v: {key: v}, ANYTHING))
        (tmp_path/"config.json").write_text(json.dumps(changed if where is whole else whole | dict(hyper=changed)))
        def load():
            found = read_config(tmp_path)
            return make_from_config(find("trainers", found["system"]).Hyper, found["hyper"], tmp_path/"config.json")
        told(load, tmp_path, "there is no system")

    check()


def opened(name, root, settings):
    "A dataset as the command line opens it."
    return open_data(name, None if DATASETS[name].drawn else str(root), settings.pop("size", 32), None, settings)


def looked_at(data):
    "A dataset whose samples are as they should be, or that says why not."
    if max(data.height, data.width) <= 128: data.check(progress=False)
    assert len(data) > 0 or not data.drawn
    return data


@pytest.fixture
def root(name, tmp_path):
    "Where the files of a dataset are, if it has any."
    if DATASETS[name].drawn: return None
    assert name in BUILDERS, f"{name}: say in tests/fire.py how a few of its files are made"
    BUILDERS[name](tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", DATASETS)
def test_arguments_of_datasets(name, root):
    "On the command line and in a call, an argument is taken, or refused by name."
    cls, kinds = DATASETS[name], parameters(DATASETS[name])
    first = [] if cls.drawn else [next(iter(kinds))]
    texts = {"attrs": set(cls.attributes)} if cls.drawn else {}
    size = {"size"} & set(kinds)

    @fuzz(3)
    @given(st.data())
    def check(argument, how, data):
        value = data.draw(values_for(kinds[argument], texts.get(argument, ())), label=argument)
        make = {"direct": lambda: cls(*([] if cls.drawn else [root]), **{argument: value}),
                "open_data": lambda: opened(name, root, {argument: value})}[how]
        try: found, refused = told(make, argument, root, *texts_in(value))
        except AssertionError as e: # Python's own word on an argument that the class fixes
            if "multiple values for" in str(e.__cause__ or e.__context__): return
            raise
        if found is None: return
        assert may_be(value, kinds[argument]) or may_be([value], kinds[argument]), f"{argument}={value!r} was accepted"
        told(lambda: looked_at(found))

    for argument in [k for k in kinds if k not in first]:
        for how in ("direct", "open_data"): check(argument, how)


@fuzz(50)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), ANYTHING.filter(
    lambda v: " " not in json.dumps(v, separators=(",", ":"))), max_size=3))
def test_settings_are_read_as_they_were_written(settings):
    text = " ".join(f"{k}={json.dumps(v, separators=(',', ':'))}" for k, v in settings.items())
    found, refused = told(lambda: parse_settings(text))
    assert refused or same(found, settings)


@fuzz(50)
@given(st.text())
def test_any_text_is_settings_or_refused(text): told(lambda: parse_settings(text), "write name=value")


def test_a_system_that_no_test_names(site):
    "All of the above, for the package of `tests/sixth`: its systems and its world are fuzzed by being installed."
    profile, here = settings.get_current_profile_name(), Path(__file__)
    code = f"import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--hypothesis-profile={profile}',"\
           f" '-k', 'lamplight or lamps', *{[str(p) for p in sorted(here.parent.glob('test_properties*.py'))]}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here.parents[1],
                          env=os.environ | dict(PYTHONPATH=f"{site}{os.pathsep}{here.parents[1]}"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15, done.stdout
