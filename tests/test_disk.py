"""The disk is full: one line that says what was being written, where and what to do; nothing half, nothing lost, and
the same command goes on to the same bits when there is space again."""
import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scgan_nb import cli
from scgan_nb.core.weights import NotWritten, append, whole_file
from scgan_nb.trainers.checkpoint import checkpoints, latest, load_checkpoint, only_run, save_checkpoint, step_folders
from scgan_nb.worlds.faces import Faces
from tests.blobs import make
from tests.children import processes, start

TINY = dict(system="scgan", size=32, width=4, set="z_dim=4 d_width=4 s_width=4", batch=4, device="cpu", decay=-1,
            dataset="n=24 labels=portrait10", sample=0, no_check=True)
STEPS = 11 # one row of the history


def answer(connection, f, args):
    "What `f` prints on stderr, and how it ends."
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try: f(*args); status = 0
        except SystemExit as e: status = e.code
    connection.send((said.getvalue().strip(), status))


def ended(f, *args):
    "How `f` ends in a process of its own."
    here, there = processes.Pipe()
    child = start(answer, there, f, args)
    there.close()
    try: return here.recv()
    finally: child.join()


def command(out, steps, limit, options):
    "The command line, where no file may become larger than `limit` bytes: whoever writes on gets an error."
    if limit is not None:
        import resource # not on Windows
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)) # Python ignores the signal that comes with it
    cli.scgan_train(**TINY | options, out=str(out), steps=steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A run that nothing disturbs."
    out = tmp_path_factory.mktemp("disk")/"whole"
    assert ended(command, out, STEPS, None, {}) == ("", 0)
    return out


def assert_equal(out, whole):
    (one, state), (two, state2) = (load_checkpoint(latest(p/"checkpoints")) for p in (out, whole))
    assert state == state2
    for group in two:
        for k, v in two[group].items(): assert torch.equal(v, one[group][k]), k
    for file in whole.glob("weights/**/*.safetensors"):
        for k, v in load_file(file).items(): assert torch.equal(v, load_file(out/file.relative_to(whole))[k]), k
    assert (out/"history.jsonl").read_text() == (whole/"history.jsonl").read_text()


def assert_nothing_half(folder):
    "No draft, and whatever has a name is whole."
    left = [p for p in folder.rglob("*") if p.name.startswith(".") or p.suffix in (".part", ".unfinished")]
    assert not left, left
    for p in folder.rglob("checkpoints"): assert step_folders(p) == checkpoints(p)
    for p in folder.rglob("*.png"): assert p.stat().st_size > 1000
    for p in folder.rglob("*.safetensors"): load_file(p)
    for p in folder.rglob("history.jsonl"): assert p.read_text()[-1:] in ("", "\n")


CASES = dict(checkpoint=(100_000, dict(save=1), "checkpoints/step_00000003: a checkpoint could not be written"),
             samples=(1000, dict(sample=1), "samples/step_000001.png: an image could not be written"),
             history=(60, {}, "history.jsonl: the history could not be written"),
             weights=(10_000, {}, "weights: a folder could not be written"),
             cache=(5000, dict(cache="cache"), "a cache of 24 samples could not be written"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of file sizes")
@pytest.mark.parametrize("what", CASES)
def test_no_more_room(what, whole, tmp_path, monkeypatch):
    limit, options, told = CASES[what]
    if "cache" in options: options = dict(cache=str(tmp_path/"cache"))
    out = tmp_path/"run"
    if what == "checkpoint": assert ended(command, out, 2, None, options) == ("", 0)
    if what == "weights":
        assert ended(command, out, STEPS, None, options) == ("", 0)
        shutil.rmtree(out/"weights")
    said, status = ended(command, out, STEPS, limit, options)
    assert status == 1 and said.startswith("scgan_train: ") and told in said and "\n" not in said, (status, said)
    assert "File too large. Fix: raise the limit of file sizes (ulimit -f), or choose another disk, then give the " \
           "same command again" in said
    assert_nothing_half(tmp_path)
    if what == "checkpoint": assert latest(out/"checkpoints").name == "step_00000002"
    assert ended(command, out, STEPS, None, options) == ("", 0)
    assert_nothing_half(tmp_path)
    if what == "cache":
        cached = Faces(32, n=24, labels="portrait10").cached(tmp_path/"cache")
        assert torch.equal(cached.batch([3, 20])["mask"], Faces(32, n=24, labels="portrait10").batch([3, 20])["mask"])
    else: assert_equal(out, whole)


def small_disk(path, size):
    "A file system of `size` bytes in memory at `path`, seen by this process only; called again, its size is changed."
    libc = ctypes.CDLL(None, use_errno=True)
    check = lambda failed: failed and (_ for _ in ()).throw(OSError(ctypes.get_errno(), "no file system of its own"))
    again = os.path.ismount(path)
    if not again:
        root, ids = os.geteuid() == 0, (os.getuid(), os.getgid())
        check(libc.unshare(0x20000 | (0 if root else 0x10000000))) # CLONE_NEWNS, CLONE_NEWUSER
        if not root:
            Path("/proc/self/setgroups").write_text("deny")
            for name, i in zip(("uid_map", "gid_map"), ids): Path(f"/proc/self/{name}").write_text(f"0 {i} 1")
        check(libc.mount(b"none", b"/", None, 0x44000, None)) # MS_REC, MS_PRIVATE
    check(libc.mount(b"none", str(path).encode(), b"tmpfs", 32 if again else 0, f"size={size}".encode())) # MS_REMOUNT


def fill_the_disk(folder, whole, what):
    "Train on a disk that becomes full, then on one that has space again."
    try: small_disk(folder, 2_000_000)
    except OSError as e: print(f"skip: {e}", file=sys.stderr); return
    out, options = folder/"run", dict(cache=str(folder/"cache")) if what == "cache" else dict(save=1)
    if what == "checkpoint": command(out, 2, None, options)
    ballast = folder/"ballast"
    room = dict(checkpoint=300_000, cache=130_000)[what]
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - room))
    if what == "cache": # it looks for space first: the disk fills up later, by another program
        shutil.disk_usage = lambda path, real=shutil.disk_usage: real(path)._replace(free=10**9)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as status: command(out, STEPS, None, options)
    assert status.value.code == 1 and "could not be written: No space left on device" in said.getvalue()
    assert said.getvalue().count("\n") == 1 and "Fix: free some space there, then give the same" in said.getvalue()
    if what == "checkpoint":
        assert " bytes, of which " in said.getvalue()
        assert latest(out/"checkpoints").name == "step_00000002"
    assert_nothing_half(folder)
    ballast.unlink()
    small_disk(folder, 50_000_000)
    command(out, STEPS, None, options)
    if what == "checkpoint": assert_equal(out, whole)
    assert_nothing_half(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of its own")
@pytest.mark.parametrize("what", ["checkpoint", "cache"])
def test_a_full_file_system(what, whole, tmp_path):
    said, status = ended(fill_the_disk, tmp_path, whole, what)
    if said.startswith("skip"): pytest.skip(said)
    assert (said, status) == ("", 0)


def full_at(n):
    """From now on, the `n`th request to open, rename, make or sync something fails; returns how many there were.

    Python reports all of them but the last to an audit hook, and an error of the hook is one of the request."""
    calls = 0
    def count():
        nonlocal calls
        calls += 1
        if calls == n[0]: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    def hook(event, args):
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if opened or event in ("os.rename", "os.mkdir"): count()
    sync = os.fsync
    def counted(fd): count(); sync(fd)
    os.fsync = counted
    sys.addaudithook(hook)
    def reset():
        nonlocal calls
        before, calls = calls, 0
        return before
    return reset


def fail_at_each(folder, what):
    "Write something again and again; each time another request fails."
    write, read = ways(folder)[what]
    write(1)
    n = [0]
    reset, fail = full_at(n), 0
    while True:
        fail += 1
        n[0] = fail; reset()
        try: write(2)
        except NotWritten as e: failed, line = True, str(e)
        else: failed = False
        asked, n[0] = reset(), 0
        if failed:
            assert "could not be written: No space left on device. Fix: free some space" in line and "\n" not in line
            assert str(folder) in line
        # the last request of a folder is to bring its new name to the disk: what is there is whole, and new
        assert read() == (1 if failed else 2) or what in ("checkpoint", "weights"), (fail, read())
        left = [p for p in folder.rglob("*") if p.name.startswith(".")]
        assert not left, (fail, left)
        if asked < fail: break # there are no more
        if what in ("checkpoint", "cache"): shutil.rmtree(folder/{"checkpoint": "run"}.get(what, what))
        write(1)
    assert fail > dict(checkpoint=8, weights=8, lock=2, cache=8).get(what, 1), fail
    print(f"{fail - 1} requests", file=sys.stderr)


def ways(folder):
    "How to write and read things, by name: `write(n)` writes version n, and `read` says which version is there."
    file, run = folder/"a.txt", folder/"run"
    text = lambda: int(file.read_text())
    def write_text(n):
        with whole_file(file, "a text") as draft: draft.write_text(f"{n}")
    def write_log(n):
        if n == 1: file.unlink(missing_ok=True)
        append(file, "1" if n == 1 else "\n", "a line")
    save = lambda n: save_checkpoint(run, n, {"networks": {"w": torch.full((3,), float(n))}}, {"step": n}, keep=1)
    step = lambda: load_checkpoint(latest(run))[1]["step"]
    system = make().system
    weights = lambda n: system.save_pretrained(folder/"weights", steps=n)
    from scgan_nb.core.system import read_config
    def lock(n):
        with only_run(run): (folder/"held").write_bytes(b"%d" % n) if not (folder/"held").exists() or n == 1 else None
        write_held(n)
    def write_held(n):
        with whole_file(folder/"held", "a text") as draft: draft.write_text(f"{n}")
    held = lambda: int((folder/"held").read_text())
    faces = Faces(32, n=2, labels="portrait10", attrs=[])
    def cache(n):
        (folder/"cache").mkdir(exist_ok=True)
        if n == 2: faces.cached(folder/"cache", check=False, progress=False)
    there = lambda: 2 if list((folder/"cache").glob("*")) else 1
    return dict(file=(write_text, text), log=(write_log, lambda: 2 if file.read_text().endswith("\n") else 1),
                checkpoint=(save, step), weights=(weights, lambda: read_config(folder/"weights")["steps"]),
                lock=(lock, held), cache=(cache, there))


@pytest.mark.parametrize("what", ["file", "log", "checkpoint", "weights", "lock", "cache"])
def test_no_space_at_each_request(what, tmp_path):
    said, status = ended(fail_at_each, tmp_path, what)
    assert status == 0 and said.endswith("requests"), said
