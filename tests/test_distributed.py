"""Two processes train like one with the same global batch."""
import multiprocessing, os, socket
import pytest, torch
from scgan_nb.trainers.checkpoint import latest, load_checkpoint
from tests.blobs import Spots, make

STEPS, OPTIONS = 6, dict(log_every=2, seed=3) # batch norms, noise in a loss, latents: all as in one process
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.blobs", "torch._dynamo"])


def train(out, steps, rank=0):
    "What each process runs: it does not know how many there are. Each starts from other weights."
    trainer = make(out, data=Spots(), init=rank, **OPTIONS).fit(steps)
    (out/f"rank{trainer.rank}").write_text(f"{trainer.processes} {len(trainer.feed.indices(0))}")


def launched(out, steps, rank, world, port):
    "The environment that torchrun and `accelerate launch` set up for each process."
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                       MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    train(out, steps, rank)
    torch.distributed.destroy_process_group()


def launch(out, steps, world=2):
    "Train in `world` processes on this machine."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    children = [processes.Process(target=launched, args=(out, steps, rank, world, port)) for rank in range(world)]
    for c in children: c.start()
    for c in children: c.join(120)
    assert [c.exitcode for c in children] == [0]*world


@pytest.mark.skipif(not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
                    reason="torch was built without gloo")
def test_two_processes_train_like_one(tmp_path):
    for name in ("one", "two"): (tmp_path/name).mkdir()
    train(tmp_path/"one", STEPS)
    launch(tmp_path/"two", 4)
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
