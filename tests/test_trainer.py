"""The training loop: resume is bit for bit, whatever the options; data order and gradients do not depend on how a batch is cut."""
import json
import pytest, torch
from tests.blobs import Blobs, Spots, assert_same, make, tensors
from scgan_nb.core.system import Update
from scgan_nb.trainers.checkpoint import DamagedCheckpoint, latest, step_folders
from scgan_nb.trainers.trainer import NonFiniteLoss, Trainer

pytestmark = pytest.mark.library
VARIANTS = dict(plain={}, accumulate=dict(accumulate=3), bf16=dict(precision="bf16"), fp16=dict(precision="fp16"),
                workers=dict(workers=2), random_data=dict(data=Spots(flip=True)), decay=dict(decay=(5, 20)),
                no_ema=dict(ema=None), nhwc=dict(channels_last=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_resume_is_bit_exact(name, tmp_path):
    kw = VARIANTS[name]
    whole = make(**kw).fit(17)
    make(tmp_path, **kw).fit(4)
    torch.manual_seed(123) # the state of the second process does not matter
    make(tmp_path, **kw).fit(10)
    again = make(tmp_path, **kw)
    assert again.steps == 10
    again.fit(17)
    assert_same(tensors(whole), tensors(again))
    assert whole.history == again.history and [r["step"] for r in again.history] == [4, 8, 12, 16]
    assert [json.loads(line) for line in open(tmp_path/"history.jsonl")] == again.history


def test_training_changes_everything_and_seeds_matter():
    start, a, b = tensors(make()), tensors(make().fit(6)), tensors(make(seed=1).fit(6))
    still = [k for k in start if "weight" in k and torch.equal(start[k], a[k])]
    assert len(start) > 15 and not still
    assert not torch.equal(a["generator.end.weight"], b["generator.end.weight"])


def test_saving_sampling_and_logging_leave_no_trace(tmp_path):
    quiet = make().fit(9)
    busy = make(tmp_path, save_every=2, sample_every=1, log_every=1).fit(9)
    assert_same(tensors(quiet), tensors(busy))
    assert len(list((tmp_path/"samples").glob("step_*.png"))) == 9


def test_random_state_of_the_caller_is_left_alone():
    torch.manual_seed(5); expected = torch.rand(3)
    torch.manual_seed(5)
    make(sample_every=1, data=Spots(flip=True)).fit(3); assert torch.equal(torch.rand(3), expected)


def test_workers_and_micro_batches_see_the_same_data():
    data = Spots(flip=True)
    assert_same(tensors(make(data=data).fit(5)), tensors(make(data=data, workers=2).fit(5)))
    kw = dict(norm=False) # statistics of a batch are those of the micro batch; noise is the same
    whole, cut = make(**kw).fit(6), make(accumulate=4, **kw).fit(6)
    for k, v in whole.system.state_dict().items():
        torch.testing.assert_close(v, cut.system.state_dict()[k], rtol=0, atol=1e-5)


def test_by_hand():
    "Four steps written out with plain torch give the same weights."
    kw = dict(norm=False, noise=0., data=Spots(z=True), ema=None)
    ours, hand = make(**kw), make(**kw).system
    d = torch.optim.Adam(hand.discriminator.parameters(), lr=2e-3, betas=(.5, .999))
    g = torch.optim.Adam(hand.generator.parameters(), lr=2e-3, betas=(.5, .999))
    for step in range(4):
        batch = ours.feed[step]
        for name, adam in [("discriminator", d), ("penalty", d)] + [("generator", g)]*(step == 2):
            hand.zero_grad(); sum(getattr(hand, name + "_loss")(batch).values()).backward(); adam.step()
    ours.fit(4)
    for k, v in hand.state_dict().items():
        torch.testing.assert_close(v, ours.system.state_dict()[k], rtol=1e-4, atol=1e-6)


def test_frozen_networks_get_no_gradient_and_parameters_stay_trainable():
    class Spy(Blobs):
        def generator_loss(self, batch):
            self.seen = [p.requires_grad for p in self.discriminator.parameters()]
            return super().generator_loss(batch)
    trainer = Trainer(Spy(), Spots(), batch=4, device="cpu", progress=None).fit(3)
    assert trainer.system.seen and not any(trainer.system.seen)
    assert all(p.requires_grad and p.grad is None for p in trainer.system.parameters())


@pytest.mark.parametrize("where", ["loss", "weight"])
def test_non_finite_stops_and_keeps_the_last_good_checkpoint(where, tmp_path):
    class Broken(Blobs):
        def generator_loss(self, batch):
            if where == "weight" and hasattr(self, "spoil"): self.generator.end.bias.data[0] = float("inf")
            return {k: v/(float("nan") if where == "loss" and hasattr(self, "spoil") else 1)
                    for k, v in super().generator_loss(batch).items()}
    torch.manual_seed(0)
    trainer = Trainer(Broken(), Spots(), batch=4, out=tmp_path, save_every=1, device="cpu", progress=None).fit(4)
    trainer.system.spoil = True
    with pytest.raises(NonFiniteLoss, match="generator/adv is nan at step 6" if where == "loss" else "step 6") as error:
        trainer.fit(9)
    assert "step_00000005" in str(error.value)
    assert latest(tmp_path/"checkpoints").name == "step_00000005"
    assert Trainer(Blobs(), Spots(), batch=4, out=tmp_path, device="cpu", progress=None).steps == 5


def test_other_runs_are_refused_by_name(tmp_path):
    make(tmp_path).fit(4)
    for kw, message in [(dict(width=6), "width=8, but this run has width=6"),
                        (dict(seed=1), "seed=0, but this run has seed=1"), (dict(batch=6), "batch=12"),
                        (dict(data=Spots(49)), "samples=50, but this run has samples=49"), (dict(ema=None), "ema=0.99"),
                        (dict(resume=False), "already holds a run")]:
        with pytest.raises((ValueError, FileExistsError), match=message): make(tmp_path, **kw)
    class Other(Blobs): name = "other"
    with pytest.raises(ValueError, match="system='blobs', but this run has system='other'"):
        Trainer(Other(), Spots(), batch=12, out=tmp_path, progress=None, device="cpu")
    class Slower(Blobs): updates = [*Blobs.updates[:2], Update("generator", every=5)]
    with pytest.raises(ValueError, match="updates="):
        Trainer(Slower(), Spots(), batch=12, out=tmp_path, progress=None, device="cpu", ema=.99)


def test_a_checkpoint_by_path_starts_a_new_run(tmp_path):
    first = make(tmp_path/"a").fit(4)
    other = make(tmp_path/"b", resume=latest(tmp_path/"a"/"checkpoints"), seed=7, batch=8, ema=.9)
    assert other.steps == 4
    assert_same(tensors(first), tensors(other))
    assert latest(tmp_path/"b"/"checkpoints") is None
    other.fit(5)
    assert latest(tmp_path/"b"/"checkpoints").name == "step_00000005"
    with pytest.raises(FileExistsError): make(tmp_path/"b", resume=latest(tmp_path/"a"/"checkpoints"))


@pytest.mark.parametrize("file", ["networks.safetensors", "ema.safetensors", "optimisers.safetensors", "state.json",
                                  "manifest.json"])
@pytest.mark.parametrize("how", ["bit", "truncated", "empty", "absent", "folder", "json"])
def test_a_damaged_checkpoint_is_never_no_checkpoint(file, how, tmp_path):
    "The older one takes its place, with a warning, and the run ends as if nothing had happened; two are an error."
    make(tmp_path, save_every=2).fit(4)
    def spoil(path):
        content = (path/file).read_bytes()
        if how in ("absent", "folder"): (path/file).unlink()
        if how == "folder": (path/file).mkdir()
        at = len(content)//2
        new = dict(bit=content[:at] + bytes([content[at] ^ 1]) + content[at + 1:], truncated=content[:at], empty=b"",
                   json=b"[1, 2]")
        if how in new: (path/file).write_bytes(new[how])
    older, newest = step_folders(tmp_path/"checkpoints")
    spoil(newest)
    with pytest.warns(UserWarning, match="step_00000004.*goes on from step_00000002"):
        again = make(tmp_path, save_every=2)
    assert again.steps == 2
    assert_same(tensors(again.fit(6)), tensors(make().fit(6)))
    for path in step_folders(tmp_path/"checkpoints"): spoil(path)
    rows = (tmp_path/"history.jsonl").read_text()
    with pytest.raises(DamagedCheckpoint, match="step_00000006.*step_00000004.*Move its step_... folders away"):
        make(tmp_path)
    assert (tmp_path/"history.jsonl").read_text() == rows


def test_options_that_make_no_sense():
    for kw, message in [(dict(precision="int8"), "precision='int8'"), (dict(decay=(9, 3)), "two rising steps"),
                        (dict(compile=("critic",)), "compile names 'critic'"),
                        (dict(batch=10, accumulate=3), "multiple of 3"), (dict(progress="loud"), "progress='loud'"),
                        (dict(log_every=0), "log_every=0")]:
        with pytest.raises(ValueError, match=message): make(**kw)
