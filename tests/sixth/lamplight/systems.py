"Two stages: find the lamps by day, then paint the night."
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from scgan_nb.core.batch import Batch, check_batch
from scgan_nb.core.registry import register
from scgan_nb.core.show import colorize, palette
from scgan_nb.core.stages import Stage
from scgan_nb.core.system import Hyper, Recipe, System, Update

from .networks import Critic, FindLamps, Night


@dataclass(frozen=True)
class LampsHyper(Hyper):
    size:tuple[int, int]|int=(48, 32) # of the images
    width:int=8 # of all networks


@dataclass(frozen=True)
class LampsPaper(LampsHyper):
    "As the paper has it."
    recipe = Recipe(batch=8, epochs=1, decay_epochs=0)


@register("trainers")
class Lamps(System):
    "Stage 1: a segmentor of streets by day."
    name, Hyper, configs, world, truth = "lamplight.lamps", LampsHyper, dict(paper=LampsPaper), "lamps", "target_image"
    classes, updates, ema, ships = (["sky", "ground", "post", "lamp"], [Update("finder", lr=5e-3)], ("finder",),
                                    ("finder",))

    def build(self, h): self.finder, self.size = FindLamps(4, h.width), h.size
    @classmethod
    def adapt(cls, data): return dict(size=data.size)
    def finder_loss(self, batch): return dict(ce=F.cross_entropy(self.finder(batch["source_image"]), batch["mask"]))
    def read(self, batch): return self.finder(batch["source_image"])
    def paint(self, state): return colorize(state.argmax(1), palette(4))


@dataclass(frozen=True)
class LamplightHyper(LampsHyper):
    lambda_l1:float=10. # weight of the distance to the truth
    lambda_gp:float=1. # weight of the gradient penalty, every 16 steps
    lambda_path:float=.1 # weight of the path length, every 4 steps


@dataclass(frozen=True)
class LamplightPaper(LamplightHyper):
    "As the paper has it."
    recipe = Recipe(batch=8, epochs=1, decay_epochs=0, ema=.99)


@register("trainers")
class Lamplight(System):
    "Stage 2: streets by night, with the lamps of stage 1, a perceptual loss, and two lazy regularisers."
    name, Hyper, configs, world, truth, reconstructs = ("lamplight", LamplightHyper, dict(paper=LamplightPaper),
                                                        "lamps", "target_image", True)
    classes, frozen, ships = ["sky", "ground", "post", "lamp"], ("finder",), ("generator", "finder")
    takes = dict(finder="lamps.finder")

    def build(self, h):
        self.size = h.size
        self.finder, self.generator, self.critic = FindLamps(4, h.width), Night(4, h.width), Critic(h.width)
        self.register_buffer("path", torch.zeros(())) # running mean of the length of paths
        self.register_buffer("length", torch.zeros(())) # at the last step that measured it
        self.updates = [Update("critic", lr=1e-3), Update("penalty", "critic", every=16, lr=1e-3),
                        Update("generator", lr=2e-3), Update("path", "generator", every=4, lr=2e-3)]

    def make_helpers(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return dict(features=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()))

    @classmethod
    def adapt(cls, data): return dict(size=data.size)
    @classmethod
    def inherit(cls, parts): return dict(width=parts["lamps"].h.width) if parts else {}

    def begin(self, batch):
        s = self.finder(batch["source_image"]).softmax(1)
        return Batch(batch, s=s, fake=self.generator(batch["source_image"], s))

    def critic_loss(self, batch):
        x = batch["source_image"]
        return dict(real=F.softplus(-self.critic(x, batch["target_image"])).mean(),
                    fake=F.softplus(self.critic(x, batch["fake"])).mean())

    def penalty_loss(self, batch):
        y = batch["target_image"].detach().requires_grad_()
        slope, = torch.autograd.grad(self.critic(batch["source_image"], y).sum(), y, create_graph=True)
        return dict(gp=16*self.h.lambda_gp*slope.square().sum((1, 2, 3)).mean())

    def generator_loss(self, batch):
        fake, features = self.generator(batch["source_image"], batch["s"]), self.helpers["features"]
        return dict(adv=F.softplus(-self.critic(batch["source_image"], fake)).mean(),
                    l1=self.h.lambda_l1*F.l1_loss(fake, batch["target_image"]),
                    perceptual=F.l1_loss(features(fake), features(batch["target_image"])))

    def path_loss(self, batch):
        s = batch["s"].detach().requires_grad_()
        image = self.generator(batch["source_image"], s)
        noise = self.randn(batch.n, *image.shape[1:])/(image.shape[-1]*image.shape[-2])**.5
        slope, = torch.autograd.grad((image*noise).sum(), s, create_graph=True)
        length = slope.square().sum((1, 2, 3)).add(1e-8).sqrt() # (B,)
        self.length.copy_(length.detach().mean())
        return dict(path=4*self.h.lambda_path*(length - self.path).square().mean())

    def end_step(self): self.path.lerp_(self.length, .01)

    def read(self, batch):
        check_batch({k: batch[k] for k in ("source_image",)})
        return batch["source_image"], self.finder(batch["source_image"]).softmax(1)
    def paint(self, state): return self.generator(*state)
    def baselines(self, batch): return dict(copy=batch["source_image"])
    def opens(self): return dict(labels=None)


Lamplight.stages = (Stage("lamps", Lamps), Stage("images", Lamplight, ("lamps",)))
