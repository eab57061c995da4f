"""A sixth paper moves in as a package of somebody else, found through its entry points, without an edit in the library: two stages, pairs of
images that are not square, a frozen first stage, a helper, lazy updates, a world of its own with judges."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

HERE = Path(__file__).parent
SMALL = ["--dataset", "n=64", "--batch", "8", "--device", "cpu", "--no-check"]


def environment(site, **more):
    return os.environ | dict(PYTHONPATH=f"{site}{os.pathsep}{HERE.parent}", OMP_NUM_THREADS="1") | more


@pytest.fixture(scope="module")
def shell(site):
    "Runs a command of the library where the sixth package is installed, and returns what it printed."
    def run(*args, code=0):
        done = subprocess.run([sys.executable, "-m", "scgan_nb", *map(str, args)], capture_output=True, text=True,
                              env=environment(site))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr
    return run


@pytest.fixture(scope="module")
def python(site, tmp_path_factory):
    "Runs code where the sixth package is installed."
    def run(code, **more):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              env=environment(site, **more), cwd=tmp_path_factory.mktemp("cwd"))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    return run


@pytest.fixture(scope="module")
def pipeline(shell, tmp_path_factory):
    "Both stages, trained by one command."
    out = tmp_path_factory.mktemp("pipeline")
    said = shell("train", "lamplight", *SMALL, "--size", "48x32", "--steps", 60, "--out", out)
    assert "lamps, images trained" in said, said
    return out


def checkpoint(folder):
    from scgan_nb.trainers.checkpoint import latest, load_checkpoint
    return load_checkpoint(latest(Path(folder)/"checkpoints"))


def assert_same(a, b):
    (tensors, state), (others, state2) = checkpoint(a), checkpoint(b)
    assert state == state2
    for group in tensors:
        assert tensors[group].keys() == others[group].keys()
        for k, v in tensors[group].items(): assert torch.equal(v, others[group][k]), k


def test_it_is_listed(shell):
    said = shell("list")
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ")}
    assert "stages: lamps, images" in lines["lamplight"] and "drawn" in lines["lamps"] and "scgan" in lines and "faces" in lines


def test_both_stages_train_and_what_is_done_stays(shell, pipeline):
    config = json.loads((pipeline/"images"/"weights"/"config.json").read_text())
    assert config["hyper"]["size"] == [48, 32] and config["system"] == "lamplight"
    assert sorted(p.name for p in (pipeline/"images"/"weights").iterdir()) == ["config.json", "finder", "generator",
                                                                               "state.safetensors"]
    tensors, state = checkpoint(pipeline/"images")
    assert not [k for k in tensors["networks"]
                if k.startswith("finder.")] and state["frozen"] and tensors["networks"]["path"] > 0
    first, last = state["history"][0], state["history"][-1]
    assert last["generator/l1"] < .7*first["generator/l1"] and {"penalty/gp",
                                                                "path/path"} <= set().union(*state["history"])
    assert "nothing trained" in shell("train", "lamplight", *SMALL, "--size", "48x32", "--steps", 60, "--out", pipeline)


def test_a_hyper_parameter_goes_to_the_stages_that_have_it(shell, tmp_path):
    args = [*SMALL, "--size", "48x32", "--steps", 1]
    shell("train", "lamplight", *args, "--out", tmp_path, "--set", "width=4 lambda_l1=3.0")
    told = {s: json.loads((tmp_path/s/"weights"/"config.json").read_text())["hyper"] for s in ("lamps", "images")}
    assert told["lamps"]["width"] == told["images"]["width"] == 4 and told["images"]["lambda_l1"] == 3
    assert "lamplight.lamps and lamplight know no hyper-parameter 'lambda_x'" in shell(
        "train", "lamplight", *args, "--out", tmp_path/"new", "--set", "lambda_x=1", code=2)


def test_a_stage_on_its_own(shell, pipeline, tmp_path):
    args = [*SMALL, "--size", "48x32", "--steps", 4, "--out", tmp_path]
    said = shell("train", "lamplight.images", *args, code=2)
    assert len(said.splitlines()) == 1 and "--from lamps=DIR" in said
    shell("train", "lamplight.images", *args, "--from", f"lamps={pipeline/'lamps'/'weights'}")
    assert "there is no stage 'posts': choose lamps, images" in shell("train", "lamplight.posts", *args, code=2)


def test_it_resumes_bit_for_bit(shell, pipeline, tmp_path):
    args = lambda out: ["lamplight.images", *SMALL, "--size", "48x32", "--out", out, "--from",
                        f"lamps={pipeline/'lamps'/'weights'}"]
    shell("train", *args(tmp_path/"whole"), "--steps", 24)
    for steps in (10, 24): shell("train", *args(tmp_path/"parts"), "--steps", steps)
    assert_same(tmp_path/"whole"/"images", tmp_path/"parts"/"images")


def test_it_is_killed_and_resumes(site, shell, pipeline, tmp_path):
    args = lambda out: ["train", "lamplight.images", *SMALL, "--size", "48x32", "--out", out, "--from",
                        f"lamps={pipeline/'lamps'/'weights'}", "--save", "1", "--steps", "120"]
    shell(*args(tmp_path/"whole"))
    child = subprocess.Popen([sys.executable, "-m", "scgan_nb", *map(str, args(tmp_path/"killed"))],
                             env=environment(site), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path/"killed").glob("images/checkpoints/step_*5")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(.005)
    assert child.poll() is None, "the run ended before it could be killed"
    child.send_signal(signal.SIGKILL); child.wait()
    shell(*args(tmp_path/"killed"))
    assert_same(tmp_path/"whole"/"images", tmp_path/"killed"/"images")


def test_it_runs_in_two_processes(site, shell, pipeline, tmp_path):
    "With batch norms, noise in a loss and lazy updates, two processes train like one."
    args = lambda out: ["train", "lamplight.lamps", *SMALL, "--size", "48x32", "--out", out, "--steps", "6"]
    images = lambda out: ["train", "lamplight.images", *SMALL, "--size", "48x32", "--out", out, "--steps", "17",
                          "--from", f"lamps={pipeline/'lamps'/'weights'}"]
    for stage, args in (("lamps", args), ("images", images)):
        shell(*args(tmp_path/"one"))
        with socket.socket() as s: s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
        world = lambda rank: environment(site, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                                         LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        children = [subprocess.Popen([sys.executable, "-m", "scgan_nb", *map(str, args(tmp_path/"two"))], env=world(r),
                                     stderr=subprocess.PIPE, text=True) for r in (0, 1)]
        errors = [c.communicate(timeout=180)[1] for c in children]
        assert [c.returncode for c in children] == [0, 0], "\n".join(errors)
        (one, _), (two, _) = checkpoint(tmp_path/"one"/stage), checkpoint(tmp_path/"two"/stage)
        for k, v in one["networks"].items():
            torch.testing.assert_close(two["networks"][k], v, rtol=0, atol=2e-5, msg=lambda m: f"{stage} {k}: {m}")


def test_it_samples_and_draws_its_figures(shell, pipeline, tmp_path):
    said = shell("sample", pipeline/"images"/"weights", "--n", 5, "--batch", 2, "--out", tmp_path)
    assert "5 images, nights" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == [*(f"{i:04d}.png" for i in range(5)), "nights.png"]
    assert Image.open(tmp_path/"0000.png").size == (32, 48)
    samples = sorted((pipeline/"images"/"samples").glob("step_*.png"))
    assert samples and Image.open(samples[-1]).size[0] > 8*32


def test_it_is_evaluated_with_a_baseline_and_judges_of_its_own(shell, python, pipeline, tmp_path):
    shell("train", "judges", "--data", "lamps", "--dataset", "n=400", "--size", "48x32", "--steps", 150, "--batch", 8,
          "--device", "cpu", "--set", "width=8 key=target_image", "--out", tmp_path/"judges", "--no-check")
    said = shell("eval", pipeline/"images"/"weights", "--n", 40, "--judges", tmp_path/"judges"/"weights", "--out",
                 tmp_path/"results.json")
    results = json.loads((tmp_path/"results.json").read_text())
    assert results["l1"] < .5*results["copy/l1"] and {"fid[lamps-cnn]", "copy/fid[lamps-cnn]",
                                                      "real/fid[lamps-cnn]"} <= results.keys()
    assert results["miou[lamps-segmentor]"] > .4 and "copy" in said.splitlines()[0]
    packaged = f"import lamplight.world as w; w.Lamps.judges = {str(tmp_path/'judges'/'weights')!r}\n"
    shown = python(packaged + "from scgan_nb.core.system import load_system\nfrom scgan_nb.metrics.evaluate import "
                   "evaluate\n" f"print(evaluate(load_system({str(pipeline/'images'/'weights')!r}), w.Lamps(seed=1), "
                   f"n=20))")
    assert "miou[lamps-segmentor]" in shown


def test_an_official_file_loads(python, tmp_path):
    assert python("""
import torch
from scgan_nb.official.translate import load_official, official_weights
from lamplight.networks import Night
net = Night(4, 6)
theirs = {"g_ema": {"module.enc.weight": net.first.weight, "module.enc.bias": net.first.bias, "module.dec.weight": net.last.weight,
                    "module.dec.bias": net.last.bias, "module.up.kernel": torch.ones(2)}, "d": {"x": torch.zeros(1)}}
theirs["g_ema"] = {k: v.detach() for k, v in theirs["g_ema"].items()}
torch.save(theirs, "official.pth")
loaded = load_official("lamplight/generator", "official.pth")
x, s = torch.rand(2, 3, 48, 32), torch.rand(2, 4, 48, 32)
assert torch.equal(loaded(x, s), net(x, s))
print(sorted(official_weights(loaded)))
""") == "['dec.bias', 'dec.weight', 'enc.bias', 'enc.weight']"


def test_a_step_on_the_meta_device(python):
    python("""
import torch
from scgan_nb.core.registry import find
from scgan_nb.trainers.trainer import Trainer
data = find("datasets", "lamps")()
for name in ("lamplight.lamps", "lamplight"):
    system = find("trainers", name).for_data(data)
    trainer = Trainer(system, data, batch=2, device="meta", progress=None)
    for _ in range(16): trainer.step(trainer.feed[0])
    assert system.sample(data.batch([0, 1]).to("meta")).shape == (2, 3, 48, 32)
""")
