"""Two processes train like one with the same global batch, and the loss of one of them ends the job with one line."""
import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from torch import nn

from scgan_nb import cli
from scgan_nb.core.batch import Batch, Samples
from scgan_nb.core.registry import find, known
from scgan_nb.core.system import System
from scgan_nb.networks.layers import InstanceNorm2d
from scgan_nb.trainers.checkpoint import checkpoints, latest, load_checkpoint, step_folders
from scgan_nb.trainers.trainer import Trainer
from tests.blobs import Spots, make, world_of
from tests.children import finish, start, start_together

pytestmark = pytest.mark.skipif(not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
                                reason="torch was built without gloo")
STEPS, OPTIONS = 6, dict(log_every=2, seed=3) # batch norms, noise in a loss, latents: all as in one process
# what makes a system small, by the names that hyper-parameters have in all systems; others stay as they are
SMALL = {"width": 8, "*_width": 8, "*_dim": 8, "widest": 2, "num_*": 2, "levels": 5, "halvings": 2, "encoded": 2,
         "n_*": 2, "*_every": 2, "*_warmup": 1}
SIZES = 32, 64 # the first one that a system takes
SIXTH = Path(__file__).parent/"sixth" # a package of somebody else


def train(out, steps, rank=0):
    "What each process runs: it does not know how many there are. Each starts from other weights."
    trainer = make(out, data=Spots(), init=rank, **OPTIONS).fit(steps)
    (out/f"rank{trainer.rank}").write_text(f"{trainer.processes} {len(trainer.feed.indices(0))}")


def test_two_processes_train_like_one(tmp_path):
    for name in ("one", "two"): (tmp_path/name).mkdir()
    train(tmp_path/"one", STEPS)
    finish(*start_together(train, tmp_path/"two", 4))
    assert [(tmp_path/"two"/f"rank{r}").read_text() for r in (0, 1)] == ["2 6", "2 6"]
    train(tmp_path/"two", STEPS) # begun by two processes, finished by one
    (one, state), (two, state2) = (load_checkpoint(latest(tmp_path/n/"checkpoints")) for n in ("one", "two"))
    assert state2["step"] == STEPS and state2["run"] == state["run"]
    for group in one:
        for k, v in one[group].items():
            torch.testing.assert_close(two[group][k], v, rtol=0, atol=1e-5, msg=lambda m: f"{group} {k}: {m}")
    for a, b in zip(state["history"], state2["history"]):
        assert a.keys() == b.keys() and all(abs(a[k] - b[k]) < 1e-4 for k in a)
    assert len((tmp_path/"two"/"history.jsonl").read_text().splitlines()) == STEPS//2


def small(cls, data, config):
    "A system for `data` that is as small as its kind can be."
    base, changes = vars(cls.configs[config or cls.config_for(data)]() if config or cls.config_for(data)
                         else cls.Hyper()), {}
    for name in (f.name for f in fields(cls.Hyper)):
        limit = next((n for pattern, n in SMALL.items() if fnmatch(name, pattern)), None)
        if limit is not None and type(base[name]) is int: changes[name] = min(base[name], limit)
        if name in ("features", "cx_features"): changes[name] = "scenes-nets" # ships; VGG-19 is large
        if name == "d_dropout": changes[name] = False # each process drops others
        if name == "real_masks": changes[name] = "soft" # an untrained parser sees one class; norms enlarge its rounding
    return cls.for_data(data, config, **changes)


def idle(system):
    """Biases in front of an instance norm, which subtracts them, as in STGAN's discriminator.

    Their gradient is 0 but for rounding, of which Adam makes steps. No output depends on them."""
    pairs = ((f"{name}.0.bias", m[0].bias, m[1]) for name, m in system.named_modules()
             if isinstance(m, nn.Sequential) and len(m) > 1 and isinstance(m[0], nn.Conv2d))
    return {name for name, bias, norm in pairs if bias is not None and isinstance(norm, InstanceNorm2d)}


class Double(Samples):
    "The samples of a world in double precision; every third mask is unlabelled in part, if the system knows that."
    def __init__(self, data, unlabelled): self.data, self.palette, self.unlabelled = data, data.palette, unlabelled
    def __len__(self): return len(self.data)
    def batch(self, indices):
        batch = Batch({k: v.double() if v.is_floating_point() else v for k, v in self.data.batch(indices).items()})
        for n, i in enumerate(indices if self.unlabelled else ()):
            for key in {"mask", "target_mask"} & set(batch):
                if i % 3 == 0: batch[key][n, :9] = 255
        return batch


def steps_of(system, data):
    "A trainer after some steps, until every row of the table of updates was due."
    unlabelled = system.name.partition(".")[0] != "lamplight"
    trainer = Trainer(system.double(), Double(data, unlabelled), batch=4, device="cpu", ema=.9, log_every=1, progress=None)
    due = max(u.start + max(u.phases) + 1 for u in system.updates)
    return trainer.fit(max(5, due))


def run(name, config, out):
    """A small system in this process, or in this one of two.

    Double precision: Adam divides a gradient by its own size, so that where it is almost 0, the rounding of float32
    decides about a step of full length."""
    if name.startswith("lamplight"): sys.path.insert(0, str(SIXTH))
    cls = find("trainers", name) if not name.startswith("lamplight") else sixth()[name]
    world = find("datasets", world_of(cls, config))
    for size in SIZES:
        torch.manual_seed(0)
        data = world(size)
        try: trainer = steps_of(small(cls, data, config), data)
        except ValueError as e: problem = e; continue # too small for this system
        break
    else: raise problem
    if trainer.rank == 0:
        torch.save(dict(weights=trainer.system.state_dict(), averages=trainer.averages.state_dict(),
                        losses=trainer.history, updates=[u.name for u in trainer.system.updates],
                        idle=idle(trainer.system), processes=trainer.processes), out)


def sixth():
    "The systems of somebody else's package, which is not installed."
    import lamplight.systems, lamplight.world # noqa
    return known("trainers")


def way(h):
    "What decides which code runs: every hyper-parameter that is no number, and which numbers are 0."
    return tuple((f.name, bool(v) if isinstance(v, (int, float)) else v) for f in fields(h)
                 if isinstance(v := vars(h)[f.name], (str, bool, int, float)))


def cases():
    "Each system in its configurations; of those that run the same code, the first one."
    for name, cls in known("trainers").items():
        if not issubclass(cls, System): continue
        first = {}
        for config, hyper in (cls.configs or {None: cls.Hyper}).items(): first.setdefault(way(hyper()), config)
        yield from ((name, config) for config in first.values())
    yield from (("lamplight.lamps", None), ("lamplight", None))


@pytest.mark.parametrize("name, config", [
    pytest.param(*case, id="-".join(x or "default" for x in case)) for case in cases()])
def test_every_system_trains_in_two_processes_as_in_one(name, config, tmp_path):
    finish(start(run, name, config, tmp_path/"1.pt"), *start_together(run, name, config, tmp_path/"2.pt"))
    one, two = (torch.load(tmp_path/f"{n}.pt") for n in (1, 2))
    assert (one["processes"], two["processes"]) == (1, 2)
    for a, b in zip(one["losses"], two["losses"], strict=True):
        assert a.keys() == b.keys()
        for k in a: assert abs(a[k] - b[k]) < 1e-5, (k, a["step"], a[k], b[k])
    assert {k.partition("/")[0] for row in one["losses"] for k in row} == {"step", *one["updates"]}
    for group in ("weights", "averages"):
        for k, v in one[group].items():
            if k in one["idle"]: continue
            torch.testing.assert_close(two[group][k], v, rtol=0, atol=1e-5, msg=lambda m: f"{k}: {m}")


TINY = dict(system="scgan", size=32, width=4, set="z_dim=4 d_width=4 s_width=4", batch=4, device="cpu", decay=-1,
            no_check=True, sample=0)


def command(out, steps):
    "The command line in this process; what it prints on stderr goes into a file for each rank."
    log = os.open(out.parent/f"stderr{os.environ.get('RANK', '')}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    cli.scgan_train(**TINY, out=str(out), steps=steps, save=1)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_job_with_one_line(killed, tmp_path):
    out = tmp_path/"run"
    children = start_together(command, out, 10**6)
    while len(checkpoints(out/"checkpoints")) < 2 and all(c.is_alive() for c in children): time.sleep(.01)
    assert all(c.is_alive() for c in children)
    children[killed].kill()
    finish(children[1 - killed], code=1)
    said = [line for line in (tmp_path/f"stderr{1 - killed}").read_text().splitlines() if not line.startswith("[")]
    assert len(said) == 1 and re.fullmatch(r"scgan_train: another process of this job has ended or cannot be reached "
                                           r"\(.+\): its own message, if there is one, says why\. The last checkpoint "
                                           r"is \S+step_\d+: the same command goes on from there", said[0]), said
    last = latest(out/"checkpoints")
    step = load_checkpoint(last)[1]["step"]
    assert str(last) in said[0] and step >= 2
    finish(start(command, out, step + 2))
    assert load_checkpoint(latest(out/"checkpoints"))[1]["step"] == step + 2 and not (out/".lock").exists()
    assert step_folders(out/"checkpoints") == checkpoints(out/"checkpoints")
    assert not list(out.glob("checkpoints/.*"))


def test_torchrun(tmp_path):
    "The command line in two processes that torchrun starts, against the same command in one."
    options = [f"--{k}={v}" for k, v in TINY.items() if k not in ("system", "no_check")]
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "scgan_nb", "train", "scgan",
            *options, "--no-check", "--save=1", "--steps=3", "--out=two"]
    done = subprocess.run([sys.executable, *many], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 steps. Weights: two/weights") == 1 # the first process speaks for both
    finish(start(command, tmp_path/"one", 3))
    one, two = (load_checkpoint(latest(tmp_path/n/"checkpoints"))[1]["recent"] for n in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two] and one[-1][0] == 3
    for (step, update, terms), (_, _, terms2) in zip(one, two):
        # float32, and a step of Adam has its full length however small the gradient, see `run`
        assert terms == pytest.approx(terms2, rel=1e-4, abs=1e-4 if step == 1 else 2e-2), (step, update)
