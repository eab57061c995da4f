"""A GAN of 8x8 pictures that is small enough to train in a test and has every part that a trainer must keep: convolutions,
batch statistics, three updates of which two share an optimiser, a double backward, random numbers in data and losses."""
from __future__ import annotations
from dataclasses import dataclass

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from torch.utils.data import Dataset
from scgan_nb.core.batch import Batch
from scgan_nb.core.registry import known
from scgan_nb.core.system import Hyper, System, Update
from scgan_nb.trainers.trainer import Trainer


class Painter(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width, norm):
        super().__init__()
        self.start = nn.Linear(4, width*16)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.end = nn.ConvTranspose2d(width, 3, 4, 2, 1)

    def forward(self, z): return self.end(self.norm(self.start(z).view(len(z), -1, 4, 4)).relu()).tanh()


class Critic(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(.2), nn.Conv2d(width, 1, 4))

    def forward(self, x): return self.layers(x).flatten()


@dataclass(frozen=True)
class BlobsHyper(Hyper):
    width:int=8
    norm:bool=True
    noise:float=0.1


class Blobs(System):
    name, Hyper = "blobs", BlobsHyper
    updates = [Update("discriminator", lr=2e-3), Update("penalty", trains="discriminator", lr=2e-3),
               Update("generator", every=3, lr=2e-3)]

    def build(self, h):
        self.generator, self.discriminator, self.noise = Painter(h.width, h.norm), Critic(h.width), h.noise
    def begin(self, batch): return Batch({"z": self.randn(batch.n, 4), **batch})

    def discriminator_loss(self, batch):
        with torch.no_grad(): fake = self.generator(batch["z"])
        real = batch["image"] + self.noise*self.randn(*batch["image"].shape)
        return {"real": -self.discriminator(real).mean(), "fake": self.discriminator(fake).mean()}

    def penalty_loss(self, batch):
        with torch.autocast(self.device.type, enabled=False):
            x = batch["image"].detach().requires_grad_()
            slope, = torch.autograd.grad(self.discriminator(x).sum(), x, create_graph=True)
            return {"gp": 10*(slope.flatten(1).norm(dim=1) - 1).square().mean()}

    def generator_loss(self, batch): return {"adv": -self.discriminator(self.generator(batch["z"])).mean()}

    def read(self, batch): return torch.randn(batch.n, 4, device=self.device)
    def paint(self, state): return self.generator(state)


class Spots(Dataset):
    "Picture i has one bright spot whose place and colour are functions of i; `flip` mirrors half of them at random."
    def __init__(self, n=50, flip=False, z=False): self.n, self.flip, self.z = n, flip, z

    def __len__(self): return self.n

    def __getitem__(self, i):
        y, x = torch.meshgrid(torch.arange(8.), torch.arange(8.), indexing="ij")
        spot = torch.exp(-((y - i % 8)**2 + (x - i//8 % 8)**2)/3)
        image = 2*spot*torch.tensor([i % 3, (i + 1) % 3, (i + 2) % 3]).view(3, 1, 1)/2 - 1
        if self.flip and torch.rand(()) < .5: image = image.flip(-1)
        z = {"z": torch.sin(torch.arange(1., 5)*(i + 1))} if self.z else {}
        return Batch(image=image, **z)


def make(out=None, width=8, norm=True, noise=.1, data=None, init=0, **kw):
    "A trainer of blobs whose start weights are drawn with seed `init`."
    with torch.random.fork_rng():
        torch.manual_seed(init)
        system = Blobs(width=width, norm=norm, noise=noise)
    options = dict(batch=12, save_every=0, sample_every=0, log_every=4, ema=.99, device="cpu", progress=None) | kw
    return Trainer(system, data if data is not None else Spots(), out=out, **options)


def tensors(trainer):
    "Everything that training changes, by name."
    averages = trainer.averages.state_dict() if trainer.averages else {}
    return {**trainer.system.state_dict(), **{f"ema/{k}": v for k, v in averages.items()}, **trainer._moments()}


def assert_same(a, b):
    "Two dicts of tensors agree bit for bit."
    assert a.keys() == b.keys()
    different = [k for k in a if not torch.equal(a[k], b[k])]
    assert not different, f"{len(different)} of {len(a)} tensors differ, first {different[0]}"


def world_of(cls, config):
    "The name of the drawn world that a configuration is for, else the world of the system."
    drawn = [n for n, c in known("datasets").items() if c.drawn]
    return next((n for n in drawn if config and cls.suits.get(n) == config), cls.world)
