"""Every option of every command, with any text: the exit status is 0, 1 or 2, and an error is one line besides argparse's usage.
The commands parse, open data and build as they always do; nothing is trained, drawn or judged.
`pytest --hypothesis-profile=thorough tests/test_properties*.py` goes on for hours."""
import contextlib
import io
import json
import os
import signal
import runpy
import sys
from typing import get_type_hints

import pytest
import torch
from fastcore.script import anno_parser
from hypothesis import given
from hypothesis import strategies as st

from scgan_nb import cli
from scgan_nb.__main__ import commands
from scgan_nb.core.registry import known
from scgan_nb.core.show import Picture
from scgan_nb.core.system import System
from scgan_nb.datasets.base import ImageDataset
from scgan_nb.metrics import evaluate
from scgan_nb.trainers import trainer
from tests.fire import ANYTHING, fuzz, meant_by, parameters, soon
from tests.test_properties_files import small

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules") # of `runpy`
SYSTEMS = {name: cls for name, cls in known("trainers").items() if issubclass(cls, System)}
DATASETS = known("datasets")
TYPED = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/"), max_size=8)
NUMBERS = st.integers(-2, 70).map(str) | st.sampled_from(["1e3", "0x10", "1_000", "٣", "inf", "nan", "-inf", "10000000000", "9"*40,
                                                          "65536", "0.5", "1.", "-0", "+1", " 2"])
PATHS = st.sampled_from(["out", "file", "file/below", "folder", "folder/new", ".", "..", "x"*300, "a b", "weights", "weights/config.json",
                         "hf:no/such", "~", "-", "--", "link", "pipe"])


def actions(command):
    "What the parser of a command takes: arguments first, then options."
    found = [a for a in anno_parser(command.__wrapped__ if "__wrapped__" in vars(command) else command)._actions
             if a.dest not in ("help", "pdb", "xtra")]
    return [a for a in found if not a.option_strings], [a for a in found if a.option_strings]


def settings_of(kinds):
    "A text like \"lambda_seg=2 order=at_once\", with settings of some names and kinds."
    def written(value): return json.dumps(value, separators=(",", ":")).replace(" ", "_")
    one = [st.tuples(st.just(name), (meant_by(kind) | ANYTHING).map(written)).map("=".join) for name, kind in sorted(kinds.items())]
    odd = st.tuples(TYPED, TYPED).map("=".join) | TYPED
    return st.lists(st.one_of(one) if one else odd, max_size=2).map(" ".join) | odd


@st.composite
def text_for(draw, action, system):
    "A text for an option: often one that it means."
    cls = SYSTEMS.get(system, System); world = DATASETS[cls.world]
    means = {"system": st.just(system) | st.sampled_from([f"{n}.{s.name}" for n, c in SYSTEMS.items() for s in c.stages] or [system]),
             "data": st.sampled_from([*DATASETS]), "weights": st.just("weights"), "device": st.sampled_from(["cpu", "meta", "cuda"]),
             "config": st.sampled_from([*cls.configs] or ["paper"]), "set": settings_of(get_type_hints(cls.Hyper)),
             "dataset": settings_of(parameters(world)), "precision": st.sampled_from(["no", "bf16", "fp16"]), "ema": st.just("0.9"),
             "size": st.builds("{}x{}".format, st.integers(1, 70), st.integers(1, 70)) | st.sampled_from(["64", "32"]),
             "from_": st.builds("{}={}".format, st.sampled_from([s.name for s in cls.stages] or ["a"]), PATHS)}
    if draw(st.integers(0, 4)): return draw(means.get(action.dest, st.integers(0, 70).map(str) if action.type is int else PATHS))
    return draw(TYPED | NUMBERS | PATHS)


@st.composite
def lines(draw, command, system):
    "A command line, without the name of the command."
    positional, options = actions(command)
    words = [draw(text_for(a, system)) for a in positional]
    for a in draw(st.lists(st.sampled_from(options), max_size=4, unique_by=lambda a: a.dest) if options else st.just([])):
        option = a.option_strings[0]
        if draw(st.booleans()): option = option.replace("_", "-")
        if a.nargs == 0: words.append(option)
        else: words += (lambda v: [option, v] if draw(st.booleans()) else [f"{option}={v}"])(draw(text_for(a, system)))
    return words


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder where a command runs: with weights, a file, a folder, a link and a pipe."
    here = tmp_path_factory.mktemp("place")/"cwd"
    (here/"folder").mkdir(parents=True)
    (here/"file").write_text("mine")
    (here/"link").symlink_to("nowhere")
    if "SIGALRM" in signal.Signals.__members__: os.mkfifo(here/"pipe")
    name = next(n for n in SYSTEMS if not SYSTEMS[n].stages)
    small(SYSTEMS[name]).save_pretrained(here/"weights")
    return here


@pytest.fixture
def light(monkeypatch, place):
    "Nothing is trained, drawn or judged; networks are built on the meta device."
    built = System.for_data.__func__
    def on_meta(cls, *args, **changes):
        with torch.device("meta"): return built(cls, *args, **changes)
    def short(self, *args, **kwargs):
        assert len(self) > 0
        return self
    real = trainer.Trainer.__init__
    def trained(self, system, data=None, **options):
        real(self, system, data, **options | dict(device="meta", compile=False))
    monkeypatch.chdir(place)
    monkeypatch.setattr(System, "for_data", classmethod(on_meta))
    monkeypatch.setattr(trainer.Trainer, "__init__", trained)
    monkeypatch.setattr(trainer.Trainer, "fit", lambda self, steps: self)
    monkeypatch.setattr(cli, "_save_weights", lambda trainer, folder, half: folder)
    monkeypatch.setattr(cli, "_save_samples", lambda *args: None)
    monkeypatch.setattr(System, "save_pretrained", lambda self, folder, *args, **kwargs: folder)
    monkeypatch.setattr(cli, "_demo_figures", lambda *args: dict(dials=Picture(torch.zeros(3, 8, 8))))
    monkeypatch.setattr(cli, "_training_figures", lambda *args: {})
    monkeypatch.setattr(cli, "known", lambda kind: {} if kind == "figures" else known(kind))
    monkeypatch.setattr(evaluate, "evaluate", lambda *args, **kwargs: evaluate.Results({}))
    for cls in {ImageDataset, *DATASETS.values()}:
        monkeypatch.setattr(cls, "check", short)
        monkeypatch.setattr(cls, "cached", short)


def ended(command, words):
    "What a command line says on stderr, and its exit status."
    said, argv = io.StringIO(), sys.argv
    sys.argv = ["scgan_nb", *filter(None, [command]), *words]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), soon(30):
            runpy.run_module("scgan_nb", run_name="__main__")
        status = 0
    except SystemExit as e: status = e.code or 0
    finally: sys.argv = argv
    return said.getvalue(), status


def check(command, words):
    err, status = ended(command, words)
    lines = [line for line in err.splitlines() if "Warning" not in line and not line.startswith("  warnings.warn")]
    usage = next((i for i, line in enumerate(lines) if line.startswith("usage: ")), None)
    if usage is not None: lines = [line for line in lines if f"{command}: error: " in line]
    assert status in (0, 1, 2) and "Traceback" not in err, (status, err)
    assert status != 1, f"an exception that nobody expected: {err}"
    many = len(lines) > 1 and " fault" in lines[0]
    assert many or len(lines) == (status != 0), (status, err)


@pytest.mark.parametrize("name", [n for n in commands if n != "train"])
def test_command_lines(name, light):
    @fuzz(15 if name != "list" else 5)
    @given(lines(commands[name], "scgan"))
    def fire(words): check(name, words)

    fire()


@pytest.mark.parametrize("system", SYSTEMS)
def test_command_lines_that_train(system, light):
    @fuzz(12)
    @given(lines(commands["train"], system))
    def fire(words): check("train", words)

    fire()


@fuzz(20)
@given(st.lists(TYPED | PATHS | st.sampled_from(["--help", "--version", "list", "trian", "--pdb", "--xtra"]), max_size=2))
def test_lines_without_a_command(words):
    "The first word is no command, or one that is told to do nothing."
    if not words or words[0] not in commands: check("", words)
