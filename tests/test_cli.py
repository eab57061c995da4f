"""The command line: an option that is not given is None, every mistake is one line, nothing is made before all is
checked. The commands run in this process; a few run in processes of their own, where signals and pipes matter."""
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scgan_nb import __version__, cli

TINY = dict(system="scgan", size=32, width=8, set="z_dim=16", batch=4, device="cpu", decay=-1, no_check=True,
            dataset="n=64", sample=0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "Every test has a working folder of its own."
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ended(capsys):
    "Runs a command in this process; returns what it printed and its exit status."
    def run(command, **options):
        try: command(**options); status = 0
        except SystemExit as e: status = e.code
        out, err = capsys.readouterr()
        return (out + err).strip(), status
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A run of two steps."
    out = tmp_path_factory.mktemp("trained")
    cli.scgan_train(**TINY, steps=2, out=str(out), save=1)
    return out


def refused(ended, words, command=cli.scgan_train, **options):
    "A command is refused in one line that holds the words, and nothing is made."
    before = sorted(Path().rglob("*"))
    said, status = ended(command, **options)
    assert status == 2 and words in said and len(said.splitlines()) == 1, (status, said)
    assert said.startswith(f"{command.__name__}: ") and sorted(Path().rglob("*")) == before


OUT_OF_RANGE = [("steps", 0), ("steps", -1), ("batch", 0), ("width", 0), ("width", -4), ("width", 10**9), ("ema", 2.),
                ("ema", 1.), ("ema", -1.), ("ema", float("nan")), ("accumulate", 0), ("accumulate", -1), ("save", -1),
                ("sample", -1), ("workers", -1), ("augment", -1), ("augment", 10**6), ("decay", -2), ("batch", 10**9),
                ("seed", 2**70)]


@pytest.mark.parametrize("name,value", OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused(ended, name, value):
    refused(ended, f"--{name} {value} must be a", **TINY | {name: value})


@pytest.mark.parametrize("name",
                         ["config", "resume", "out", "data", "root", "split", "cache", "device", "precision", "size"])
def test_an_empty_option_is_refused(ended, name):
    refused(ended, f"--{name} is empty: give a value, or leave it away", **TINY | {name: ""})


@pytest.mark.parametrize("name,value,words",
                         [("size", 2**40, "--size 1099511627776 must be"), ("size", "4x0", "--size 4x0: write"),
                          ("precision", "half", "--precision half"), ("device", "tpu", "unknown device 'tpu'"),
                          ("resume", "no/such", "--resume no/such: there is no such folder"),
                          ("system", "", "SYSTEM is empty"), ("system", "gan", "there is no system 'gan'"),
                          ("set", "z_dim", "write name=value")])
def test_other_options_are_refused_by_name(ended, name, value, words): refused(ended, words, **TINY | {name: value})


@pytest.mark.parametrize("command", [cli.scgan_sample, cli.scgan_eval])
@pytest.mark.parametrize("name,value", [("n", 0), ("n", -5), ("batch", 0), ("seed", 2**64)])
def test_sample_and_eval_have_ranges(ended, command, name, value):
    refused(ended, f"--{name} {value} must be a", command, weights="scgan-faces-64", **{name: value})


@pytest.mark.parametrize("name,value", [("steps", 0), ("n", 0), ("seed", 2**64)])
def test_the_demo_has_ranges(ended, name, value):
    refused(ended, f"--{name} {value} must be a", cli.scgan_demo, **{name: value})


def test_options_are_checked_before_anything_heavy_is_imported(tmp_path):
    code = ("import sys\nfrom scgan_nb import cli\n" "for f, options in ((cli.scgan_train, dict(steps=0)), "
            "(cli.scgan_train, dict(size='1x2x3')), (cli.scgan_train, dict(out=__file__))):\n"
             "    try: f('scgan', **options)\n    except SystemExit as e: assert e.code == 2\n    else: raise "
            "AssertionError(options)\n" "print([m for m in ('torch', 'numpy') if m in sys.modules])")
    (tmp_path/"script.py").write_text(code)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | dict(PYTHONPATH=str(Path(cli.__file__).parents[1])))
    assert done.stdout.strip() == "[]" and len(done.stderr.splitlines()) == 3, done.stdout + done.stderr


@pytest.mark.parametrize("setting,words",
                         [("exclusive=maybe", "exclusive='maybe' must be true or false"),
                          ("exclusive=1", "exclusive=1 must be true or false"),
                          ("lambda_seg=abc", "lambda_seg='abc' must be a number, at least 0"),
                          ("lambda_seg=", "lambda_seg='' must be a number"),
                          ("lambda_seg=null", "lambda_seg=None must be a number"), ("lambda_seg=-1", "lambda_seg=-1"),
                          ("lambda_gp=[]", "lambda_gp=[]"), ("lambda_gp=NaN", "lambda_gp=nan"),
                          ("lambda_gp=Infinity", "lambda_gp=inf"), ("z_dim=-1", "z_dim=-1"), ("z_dim=1.5", "z_dim=1.5"),
                          ("z_dim=\"16\"", "z_dim='16'"), ("s_width=-1", "s_width=-1"), ("d_width=0", "d_width=0"),
                          ("s_warmup=-5", "s_warmup=-5"), ("n_repeat=0", "n_repeat=0"),
                          ("lr=[\"a\",\"b\",\"c\"]", "lr="), ("lr=[1e-4]", "must be a list of 3 numbers, above 0"),
                          ("lr=1e-4", "must be a list of 3 numbers"), ("halvings=1000000", "halvings=1000000"),
                          ("order=5", "order=5 must be a text"),
                          ("lambda_seg=2,order=at_once", "lambda_seg='2,order=at_once' must be a number"),
                          ("bogus=1", "no hyper-parameter 'bogus'")])
def test_hyperparameters_are_refused_by_name(ended, setting, words):
    refused(ended, words, **TINY | dict(set=setting))


@pytest.mark.parametrize("setting,words",
                         [("widest=0", "widest=0"), ("num_experts=0", "num_experts=0"),
                          ("betas=[0.5]", "betas=(0.5,) must be a list of 2 numbers"),
                          ("betas=[0.5,1]", "at least 0 and below 1"), ("encoded=99", "encoded=99"),
                          ("position=3", "position=3 must be a text or null"), ("levels=0", "levels=0")])
def test_those_of_another_system(ended, setting, words):
    refused(ended, words, system="semantic_composition", dataset="n=8", device="cpu", no_check=True, set=setting)


@pytest.mark.parametrize("setting,words",
                         [("bogus=1", "has no argument 'bogus': choose from attrs"), ("size=32", "use --size"),
                          ("n=ten", "n='ten' must be a whole number"), ("n=1e3", "n=1000.0"), ("n=0", "n=0"),
                          ("seed=1.5", "seed=1.5"), ("attrs=5", "attrs=5 must be a list"), ("labels=[1]", "labels=[1]"),
                          ("labels=x", "'x'"), ("views=0", "views=0"), ("device=tpu", "unknown device 'tpu'"),
                          ("attrs=Smile", "knows no attribute 'Smile'")])
def test_settings_of_datasets_are_refused_by_name(ended, setting, words):
    refused(ended, words, **TINY | dict(dataset=setting))


@pytest.mark.parametrize("setting,words",
                         [("images=/etc", "use --root"), ("threads=x", "threads='x'"),
                          ("classes=[1,2]", "classes=[1, 2]"), ("recursive=1", "true or false"),
                          ("table=x", "table='x'"), ("labels=x", "FolderDataset cannot use labels='x'")])
def test_those_of_files(ended, folder, setting, words):
    from PIL import Image
    (folder/"p").mkdir()
    for i in range(4): Image.new("RGB", (32, 32)).save(folder/"p"/f"{i}.png")
    refused(ended, words, **TINY | dict(data="folder", root="p", dataset=setting))


def test_data_without_masks(ended, folder):
    from PIL import Image
    (folder/"p").mkdir()
    for i in range(4): Image.new("RGB", (32, 32)).save(folder/"p"/f"{i}.png")
    said, status = ended(cli.scgan_train, **TINY | dict(data="folder", root="p", dataset="", steps=1, out="run"))
    assert status == 2 and "scgan needs 'mask', but the samples of --data folder hold image" in said, said


def test_people_in_a_folder(ended, folder):
    "Own photographs with joints: a stage of pose transfer trains on them, and the other commands open them."
    from scgan_nb.core.show import Picture
    from scgan_nb.worlds.people import People
    (folder/"p"/"images").mkdir(parents=True)
    drawn = People((64, 48)).batch([0, 1])
    for role in ("source", "target"):
        for i in range(2):
            name = f"person{i}_{role}"
            Picture(drawn[f"{role}_image"][i]).save(folder/"p"/"images"/f"{name}.png")
            numbers = [v for y, x in drawn[f"{role}_pose"][i].nan_to_num(0).tolist() for v in (x, y, float(y > 0))]
            (folder/"p"/"keypoints").mkdir(exist_ok=True)
            person = dict(people=[dict(pose_keypoints_2d=numbers)])
            (folder/"p"/"keypoints"/f"{name}.json").write_text(json.dumps(person))
    data = dict(data="folder", root="p")
    plan = dict(system="sca_gan.edges", size="64x48", width=4, set="d_width=4", dataset="keypoints=p/keypoints", batch=2)
    said, status = ended(cli.scgan_train, **TINY | data | plan | dict(steps=1, out="run"))
    assert status == 0, said
    said, status = ended(cli.scgan_sample, weights="run/edges/weights", out="made", **data)
    assert status == 0 and len(list(Path("made").glob("*.png"))) == 4, said
    refused(ended, "p/none.json: no such file", **TINY | data | dict(system="sca_gan", dataset="keypoints=p/none.json"))


@pytest.mark.parametrize("place,out",
                         [("file", "file"), ("file", "file/below"), ("run/weights", "run"), ("run/checkpoints", "run"),
                          ("run/samples", "run")])
def test_a_file_in_the_way_of_out_is_found_before_training(ended, place, out):
    Path(place).parent.mkdir(exist_ok=True); Path(place).write_text("mine")
    refused(ended, f"{place} is not a folder: choose another --out", **TINY | dict(out=out))
    if out == place: refused(ended, "file is not a folder", cli.scgan_sample, weights="scgan-faces-64", out=out)
    if out == place: refused(ended, "file is not a folder", cli.scgan_demo, out=out)
    if out != "run":
        refused(ended, "file is not a folder", cli.scgan_eval, weights="scgan-faces-64", out="file/results.json")
    assert Path(place).read_text() == "mine"


def test_more_places(ended, folder, monkeypatch):
    refused(ended, "--out . is a folder: name a file", cli.scgan_eval, weights="scgan-faces-64", out=".")
    refused(ended, "File name too long: choose a shorter path", **TINY | dict(out="x"*300))
    Path("file").write_text("")
    refused(ended, "--cache file: file is not a folder: choose another --cache", **TINY | dict(cache="file"))
    monkeypatch.setattr(cli.os, "access", lambda *_: False) # nobody may be root, but tests are
    refused(ended, f"nothing can be written in {folder}", **TINY | dict(out="new"))


def test_a_missing_extra_is_found_before_the_first_step(ended, monkeypatch):
    for missing, extra in (("torchmetrics", "metrics"), ("matplotlib", "figures")):
        with monkeypatch.context() as m:
            m.setitem(sys.modules, missing, None) # as if it were not installed
            refused(ended, f'scgan_demo: this command needs {missing}: pip install "scgan_nb[{extra}]"', cli.scgan_demo)
            if extra == "metrics": refused(ended, "scgan_eval: this command needs torchmetrics", cli.scgan_eval, weights="scgan-faces-64")
    assert not Path("out").exists()


def test_zero_means_zero_where_it_is_allowed(ended):
    said, status = ended(cli.scgan_train,
                         **TINY | dict(steps=1, ema=0, augment=0, save=0, workers=0, set="z_dim=16 lambda_div=0",
                                       out="run"))
    assert status == 0, said
    assert json.loads(Path("run/weights/config.json").read_text())["hyper"]["lambda_div"] == 0


def test_the_demo_saves_before_it_judges(ended, monkeypatch):
    from scgan_nb.metrics import evaluate
    def fails(*args, **kwargs): raise MemoryError
    monkeypatch.setattr(evaluate, "evaluate", fails)
    said, status = ended(cli.scgan_demo, steps=1, n=4, out="demo", device="cpu")
    assert status == 2 and "not enough memory: lower --batch or --size" in said
    assert Path("demo/weights/generator/model.safetensors").is_file()


@pytest.mark.parametrize("error,words,code",
                         [(OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left on device: free "
                           "some space", 1),
                          (FloatingPointError("the loss is nan at step 3"), "the loss is nan at step 3", 2),
                          (ImportError("it needs scipy"), "it needs scipy", 2),
                          (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
                           "lower --batch or --size", 2), (RuntimeError("two\nlines"), "RuntimeError: two lines "
                                                           "(SCGAN_NB_TRACEBACK=1 shows where)", 1),
                          (RecursionError("too deep"), "RecursionError: too deep (", 1),
                          (KeyError("mask"), "KeyError: mask (", 1)])
def test_the_net_at_the_edge(ended, monkeypatch, error, words, code):
    from scgan_nb.trainers.trainer import Trainer
    def fails(*_): raise error
    monkeypatch.setattr(Trainer, "fit", fails)
    said, status = ended(cli.scgan_train, **TINY | dict(steps=1, out="run"))
    assert status == code and words in said and len(said.splitlines()) == 1, (status, said)
    monkeypatch.setenv("SCGAN_NB_TRACEBACK", "1")
    with pytest.raises(type(error)): cli.scgan_train(**TINY | dict(steps=1, out="run"))


def test_it_goes_on_and_refuses_another_run(ended, trained):
    assert "2 steps" in ended(cli.scgan_train, **TINY, steps=2, out=str(trained), save=1)[0]
    said, status = ended(cli.scgan_train, **TINY, steps=2, out=str(trained), no_resume=True)
    assert status == 2 and "already holds a run" in said


def test_a_broken_pipe_saves(ended, monkeypatch):
    from scgan_nb.trainers.checkpoint import latest
    from scgan_nb.trainers.trainer import Trainer
    def breaks(self): raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    monkeypatch.setattr(Trainer, "_log", breaks)
    assert ended(cli.scgan_train, **TINY, steps=20, out="run") == ("", 141)
    assert latest(Path("run/checkpoints")).name == "step_00000010"


def shell(*args, **kwargs):
    return subprocess.Popen([sys.executable, "-m", "scgan_nb", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=os.environ | dict(PYTHONPATH=str(Path(cli.__file__).parents[1])), **kwargs)


def test_interrupted_it_says_what_it_saved(folder):
    options = ["scgan", "--size", "32", "--width", "8", "--set", "z_dim=16", "--batch", "4", "--device", "cpu",
               "--decay", "-1", "--no-check", "--out", "run", "--save", "1", "--sample", "0"]
    child = shell("train", *options, "--steps", "100000")
    deadline = time.monotonic() + 60
    while not list(folder.glob("run/checkpoints/step_*2")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    steps = max(int(p.name[5:]) for p in folder.glob("run/checkpoints/step_*"))
    said = f"scgan_train: stopped at step {steps}, saved: the same command goes on"
    assert child.returncode == 130 and err.splitlines()[-1] == said, err


def test_a_reader_that_goes_is_no_error():
    child = shell("list")
    child.stdout.close()
    assert (child.wait(timeout=60), child.stderr.read()) == (141, "")


def test_help_writes_options_as_they_are_typed():
    out, err = shell("train", "--help").communicate(timeout=60)
    assert "--no-resume" in out and "--from FROM" in out and not re.search(r"--\w+_", out), out
    for typed in ("--no-resume", "--no_resume"): # what help wrote once is still understood
        out, err = shell("train", "nosuch", typed, "--from", "a=b").communicate(timeout=60)
        assert "there is no system 'nosuch'" in err, err


def test_every_command_has_a_version():
    for name in ("list", "sample", "train", "eval", "demo"):
        out, err = shell(name, "--version").communicate(timeout=60)
        assert (out, err) == (f"scgan_nb {__version__}\n", "")
    out, err = shell("train", "scgan", "--steps", "ten").communicate(timeout=60)
    assert "invalid int value: 'ten'" in err and "Traceback" not in err
