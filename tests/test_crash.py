"""A run is killed at any moment, saving included, and goes on to the same end, bit for bit."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scgan_nb.core.runtime import has_ended
from scgan_nb.core.system import load_system, read_config
from scgan_nb.trainers.checkpoint import DamagedCheckpoint, checkpoints, latest, load_checkpoint, step_folders
from tests.blobs import Blobs, assert_same, make, tensors
from tests.children import finish, start

STEPS = 25
HEAVY = dict(width=512, save_every=1, keep=2) # 1.5 MB of checkpoint after every step: most of the time is spent writing
LONG = dict(width=64, save_every=1, keep=2) # a step and its checkpoint take a few milliseconds
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.truncate") # events of Python


def train(out, die_at=None, steps=STEPS, options=HEAVY):
    "Train to the end; with `die_at`, the process kills itself before that operation on files."
    if die_at is not None: mine_the_system(die_at)
    make(out, **options).fit(steps)


def mine_the_system(die_at):
    """Kill the process before it syncs, opens for writing, renames, makes or removes something for the `die_at`th time.

    Python reports all of them but the first to an audit hook, whichever library asks. The hook stays to the end."""
    calls = 0
    def count():
        nonlocal calls
        calls += 1
        if calls > die_at: os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, args):
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if opened or event in CHANGES: count()
    sync = os.fsync
    def mined_sync(fd): count(); sync(fd)
    os.fsync = mined_sync
    sys.addaudithook(hook)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    finish(start(train, out))
    return load_checkpoint(latest(out/"checkpoints"))


@pytest.fixture
def quick(tmp_path):
    "A folder in memory where there is one: a killed process loses nothing there, either, and a sync takes no time."
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK): yield tmp_path; return
    folder = memory/f"{tmp_path.name}-{os.getpid()}"
    folder.mkdir()
    try: yield folder
    finally: shutil.rmtree(folder)


def assert_whole(out, step_before):
    "There is a whole checkpoint, it loads, it is not older than the one before, and nothing half bears its name."
    assert step_folders(out/"checkpoints") == checkpoints(out/"checkpoints")
    path = latest(out/"checkpoints")
    if path is None:
        assert step_before == 0, f"the checkpoint of step {step_before} is lost"
        return 0
    groups, state = load_checkpoint(path)
    assert state["step"] >= step_before and all(v.isfinite().all() for g in groups.values() for v in g.values())
    return state["step"]


def assert_equal_runs(out, uninterrupted):
    groups, state = load_checkpoint(latest(out/"checkpoints"))
    assert state == uninterrupted[1]
    for name, tensors in uninterrupted[0].items():
        assert tensors.keys() == groups[name].keys()
        for k, v in tensors.items(): assert torch.equal(v, groups[name][k]), k


def assert_tidy(out, keep=2):
    "Nothing is left of the processes that were killed."
    assert len(checkpoints(out/"checkpoints")) == len(list((out/"checkpoints").iterdir())) == keep
    assert {p.name for p in out.iterdir()} <= {"checkpoints", "history.jsonl", ".lock"}
    lock = out/".lock" # of a process that was killed after the last checkpoint
    assert not lock.exists() or has_ended(lock.read_text())


def test_killed_at_a_hundred_random_moments(quick):
    """From the fork to the end of the second step: start, locks, resuming, steps, saving, removing.

    A run that is over before the hundredth kill is compared, and another one begins."""
    rng, steps, kills, in_write, in_run, series = random.Random(0), 30, 0, 0, 0, 0
    finish(start(train, quick/"whole", None, steps, LONG))
    whole = load_checkpoint(latest(quick/"whole"/"checkpoints"))
    began = time.monotonic(); finish(start(train, quick/"short", None, 2, LONG))
    life = time.monotonic() - began
    while kills < 100:
        out, step, ended = quick/f"killed{series}", 0, False
        while kills < 100 and not ended:
            child = start(train, out, None, steps, LONG)
            time.sleep(rng.uniform(0, life))
            child.kill(); child.join()
            ended = child.exitcode == 0
            kills += child.exitcode == -signal.SIGKILL
            in_write += bool(list(out.glob("checkpoints/.step_*.part")))
            in_run += step > 0
            step = assert_whole(out, step)
        finish(start(train, out, None, steps, LONG))
        assert_equal_runs(out, whole)
        if step == steps: make(out, **LONG).save() # killed behind its last step: the next save is what removes the rest
        assert_tidy(out)
        series += 1
    assert in_write > 2 and in_run > 50, f"{in_write} kills while a checkpoint was written, {in_run} after the first one"


def test_killed_at_every_stage_of_saving(quick):
    "At each operation on files, from the start of a process on; the next one goes on in the same folder."
    steps, step, kills = 40, 0, 0
    whole, out = quick/"whole", quick/"killed"
    finish(start(train, whole, None, steps, LONG))
    for die_at in range(45): # more operations than a start, two checkpoints and the removal of an old one take
        child = start(train, out, die_at, steps, LONG)
        child.join(120)
        kills += child.exitcode == -signal.SIGKILL
        step = assert_whole(out, step)
    assert kills == 45 and step > 5
    finish(start(train, out, None, steps, LONG))
    assert_equal_runs(out, load_checkpoint(latest(whole/"checkpoints")))
    assert_tidy(out)


def in_training(folder, *signals):
    """The folder of a run that trains, and its process, which got some signals behind its first checkpoint.

    On a busy machine a run may be over before; then another one is started."""
    for attempt in range(10):
        out = folder/f"run{attempt}"
        child = start(train, out)
        while not list(out.glob("checkpoints/step_*")) and child.is_alive(): time.sleep(.002)
        for number in signals: os.kill(child.pid, number)
        if signals != (signal.SIGSTOP,): child.join(120)
        ended = checkpoints(out/"checkpoints")[-1].name.endswith(f"{STEPS:08}") # its last step, at least
        if child.exitcode != 0 and (child.exitcode or not ended): return out, child
        os.kill(child.pid, signal.SIGCONT) if child.is_alive() else None
        child.join(120)
    raise TimeoutError("ten runs were over before a signal could reach them")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_terminated_politely(number, uninterrupted, quick):
    if signal.getsignal(number) == signal.SIG_IGN: pytest.skip(f"{number.name} is ignored here, as under nohup")
    out, child = in_training(quick, *[number]*(1 + (number == signal.SIGHUP))) # terminal and shell both send SIGHUP
    assert child.exitcode == -number and not (out/".lock").exists()
    assert 0 < assert_whole(out, 0) < STEPS and not list(out.glob("checkpoints/.step_*.part"))
    finish(start(train, out))
    assert_equal_runs(out, uninterrupted)


def test_a_second_run_in_the_folder_is_refused_while_the_first_one_trains(uninterrupted, quick):
    out, first = in_training(quick, signal.SIGSTOP) # so that it still trains
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    try:
        second = make(out, **HEAVY)
        for write in (lambda: second.fit(STEPS), second.save):
            with pytest.raises(ValueError, match=f"is in use: process {first.pid} on .* trains there"): write()
        assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    finally: os.kill(first.pid, signal.SIGCONT)
    finish(first)
    assert_equal_runs(out, uninterrupted)
    assert not (out/".lock").exists()


def test_a_closed_pipe_ends_the_printing_and_not_the_run(tmp_path):
    code = ("import sys; from pathlib import Path; from tests.blobs import make\n"
            "make(Path(sys.argv[1]), progress='terminal', log_every=1).fit(100); print('the end')")
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    assert child.stdout.readline().startswith("step 1 of 100")
    child.stdout.close() # what `| head -1` does
    assert child.stderr.read() == "" and child.wait(120) == 0
    assert latest(tmp_path/"checkpoints").name == "step_00000100"
    assert [json.loads(row)["step"] for row in open(tmp_path/"history.jsonl")] == list(range(1, 101))


FILES = ["networks.safetensors", "optimisers.safetensors", "ema.safetensors", "state.json", "manifest.json"]


def damages(content):
    "The content of a file, cut off and with one changed bit, at every sixteenth."
    for k in range(16):
        at = len(content)*k//16
        yield f"cut at {k}/16", content[:at]
        yield f"changed at {k}/16", content[:at] + bytes([content[at] ^ (1 << k % 8)]) + content[at + 1:]


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_damaged_at_every_sixteenth(file, quick):
    "The older one takes its place, with a line that names what is wrong; if both are damaged, one error does."
    make(quick, save_every=2).fit(4)
    good = tensors(make(resume=quick/"checkpoints"/"step_00000002"))
    older, newest = step_folders(quick/"checkpoints")
    (_, *rest), files = checkpoints(quick/"checkpoints"), sorted(p for p in quick.rglob("*") if p.is_file())
    contents = {p: p.read_bytes() for p in (older/file, newest/file)}
    spoilt = [{p: new for p, (_, new) in zip(contents, pair)} for pair in zip(*map(damages, contents.values()))]
    assert len(spoilt) == 32
    for (what, _), new in zip(damages(contents[newest/file]), spoilt):
        for p in new: p.write_bytes(new[p])
        with pytest.raises(DamagedCheckpoint) as caught: make(quick, save_every=2)
        said = str(caught.value)
        assert said.count("\n") == 0 and f"{older}" in said and f"{newest}" in said and "Move its step_" in said, what
        older.joinpath(file).write_bytes(contents[older/file])
        with pytest.warns(UserWarning) as warned: again = make(quick, save_every=2)
        line, = (str(w.message) for w in warned)
        assert f"{newest}" in line and "the run goes on from step_00000002" in line and "\n" not in line, what
        assert again.steps == 2, what
        assert_same(tensors(again), good)
    assert sorted(p for p in quick.rglob("*") if p.is_file()) == files # and nothing was written meanwhile


class Remembering(Blobs):
    "Blobs with a tensor of their own, outside the networks."
    name = "remembering"
    def build(self, h): super().build(h); self.register_buffer("mean", torch.zeros(3))


def system_of(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed); system = Remembering()
    system.mean.fill_(seed)
    return system


BOTH = ("generator", "discriminator")


def save_weights(folder, seed, die_at=None):
    if die_at is not None:
        mine_the_system(die_at)
        mine_safetensors()
    system_of(seed).save_pretrained(folder, BOTH, steps=seed)


def mine_safetensors():
    "Its writer is no Python. Each file counts twice here: before it is written, and when half of it is."
    import safetensors.torch as st
    whole = st.serialize_file
    def mined(tensors, filename, *args, **kw):
        open(filename, "wb").close()
        whole(tensors, filename, *args, **kw)
        os.truncate(filename, os.path.getsize(filename)//2) # is counted, and so the process may die here ...
        open(filename, "r+b").close() # ... or here, with half a file
        whole(tensors, filename, *args, **kw)
    st.serialize_file = mined


def seed_of(folder):
    "Which system a folder holds, in all its parts."
    system, steps = load_system(folder, cls=Remembering, fresh=True), read_config(find(folder))["steps"]
    wanted = system_of(steps).state_dict()
    assert wanted.keys() == system.state_dict().keys()
    for k, v in system.state_dict().items(): assert torch.equal(v, wanted[k]), f"{k} is not of step {steps}"
    return steps


def find(folder):
    from scgan_nb.core.weights import where_it_is
    return where_it_is(folder)


def test_weights_killed_at_every_file_operation(quick):
    "The old or the new weights, whole; the next saving succeeds, keeps what is not ours, and leaves nothing behind."
    folder, seen, die_at = quick/"run"/"weights", set(), 0
    save_weights(folder, 1)
    (folder/"notes.txt").write_text("of somebody")
    while True:
        child = start(save_weights, folder, 2, die_at)
        child.join(120)
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode == 0: break
        seen.add(seed_of(folder))
        save_weights(folder, 1) # the next saving, and the old state of the next round
        assert seed_of(folder) == 1 and (folder/"notes.txt").read_text() == "of somebody"
        assert [p.name for p in folder.parent.iterdir()] == ["weights"], f"left behind after a kill at {die_at}"
        die_at += 1
    assert seen == {1, 2} and die_at > 25 and seed_of(folder) == 2


def test_the_first_weights_killed_at_every_file_operation(quick):
    "Where there were none before, there are none, or the new ones."
    die_at = 0
    while True:
        folder = quick/f"{die_at}"/"weights"
        child = start(save_weights, folder, 2, die_at)
        child.join(120)
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode == 0: break
        if find(folder).exists(): assert seed_of(folder) == 2
        save_weights(folder, 1)
        assert seed_of(folder) == 1 and [p.name for p in folder.parent.iterdir()] == ["weights"]
        die_at += 3 # every third operation
    assert die_at > 10
