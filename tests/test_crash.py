"""A run is killed at any moment, saving included, and goes on to the same end, bit for bit."""
import json, multiprocessing, os, random, signal, subprocess, sys, time
import pytest, torch
from scgan_nb.trainers.checkpoint import checkpoints, latest, load_checkpoint
from tests.blobs import make

STEPS = 25
HEAVY = dict(width=512, save_every=1, keep=2) # 1.5 MB of checkpoint after every step: most of the time is spent writing
# the server imports torch once; children start in a moment, without threads
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.blobs", "torch._dynamo"]) # Adam imports the second


def train(out, die_at=None):
    "Train to the end; with `die_at`, the process kills itself before that call to the system."
    torch.set_num_threads(1)
    if die_at is not None: mine_the_system(die_at)
    make(out, **HEAVY).fit(STEPS)


def mine_the_system(die_at):
    "Kill the process when it has made `die_at` calls that sync, rename, make or remove something on the disk."
    calls = 0
    def mined(call):
        def f(*args, **kw):
            nonlocal calls
            calls += 1
            if calls > die_at: os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kw)
        return f
    for module, name in [(os, "fsync"), (os, "rename"), (os, "rmdir"), (os, "unlink"), (os, "mkdir")]:
        setattr(module, name, mined(getattr(module, name)))


def start(*args):
    child = processes.Process(target=train, args=args)
    child.start()
    return child


def finish(child):
    child.join(120)
    assert child.exitcode == 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    finish(start(out))
    before, last = checkpoints(out/"checkpoints")
    # tensors, state, seconds of a step and its saving
    return (*load_checkpoint(last), last.stat().st_mtime - before.stat().st_mtime)


def assert_whole(out, step_before):
    "There is a whole checkpoint, it loads, and it is not older than the one before."
    path = latest(out/"checkpoints")
    if path is None:
        assert step_before == 0, f"the checkpoint of step {step_before} is lost"
        return 0
    groups, state = load_checkpoint(path)
    assert state["step"] >= step_before and all(v.isfinite().all() for g in groups.values() for v in g.values())
    return state["step"]


def assert_equal_runs(out, uninterrupted):
    groups, state = load_checkpoint(latest(out/"checkpoints"))
    assert state == uninterrupted[1] and state["step"] == STEPS
    for name, tensors in uninterrupted[0].items():
        assert tensors.keys() == groups[name].keys()
        for k, v in tensors.items(): assert torch.equal(v, groups[name][k]), k


def test_killed_at_ten_random_moments(uninterrupted, tmp_path):
    rng, step, in_write = random.Random(0), 0, 0
    for _ in range(10):
        child = start(tmp_path)
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("checkpoints/.step_*.part")) and child.is_alive() and time.monotonic() < deadline:
            time.sleep(.001)
        time.sleep(rng.uniform(0, uninterrupted[2])) # so a process gets one or two steps further
        assert child.is_alive(), "the run ended before it could be killed: make it longer"
        child.kill(); child.join()
        in_write += bool(list(tmp_path.glob("checkpoints/.step_*.part")))
        step = assert_whole(tmp_path, step)
    assert in_write >= 2, "no kill fell into the writing of a checkpoint"
    finish(start(tmp_path))
    assert_equal_runs(tmp_path, uninterrupted)
    assert not list(tmp_path.glob("checkpoints/.step_*.part")) and len(checkpoints(tmp_path/"checkpoints")) == 2


def test_killed_at_every_stage_of_saving(uninterrupted, tmp_path):
    step = died = 0
    for die_at in range(0, 30, 2): # more calls than the first three checkpoints make
        child = start(tmp_path, die_at)
        child.join(120)
        died += child.exitcode == -signal.SIGKILL
        step = assert_whole(tmp_path, step)
    assert died >= 12
    finish(start(tmp_path))
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_terminated_politely(number, uninterrupted, tmp_path):
    child = start(tmp_path)
    while not list(tmp_path.glob("checkpoints/step_*")) and child.is_alive(): time.sleep(.002)
    for _ in range(1 + (number == signal.SIGHUP)): os.kill(child.pid, number) # terminal and shell both send SIGHUP
    child.join(120)
    assert child.exitcode == -number and not (tmp_path/".lock").exists()
    assert 0 < assert_whole(tmp_path, 0) < STEPS and not list(tmp_path.glob("checkpoints/.step_*.part"))
    finish(start(tmp_path))
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_second_run_in_the_folder_is_refused_while_the_first_one_trains(uninterrupted, tmp_path):
    first = start(tmp_path)
    while not list(tmp_path.glob("checkpoints/step_*")) and first.is_alive(): time.sleep(.002)
    os.kill(first.pid, signal.SIGSTOP) # so that it still trains
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    try:
        second = make(tmp_path, **HEAVY)
        for write in (lambda: second.fit(STEPS), second.save):
            with pytest.raises(ValueError, match=f"is in use: process {first.pid} on .* trains there"): write()
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    finally: os.kill(first.pid, signal.SIGCONT)
    finish(first)
    assert_equal_runs(tmp_path, uninterrupted)
    assert not (tmp_path/".lock").exists()


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
