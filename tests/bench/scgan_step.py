"""One cycle of SCGAN training (n_repeat steps, the last with a generator update): this package against the same mathematics written down plainly.

The plain form follows the published order of work: fakes keep their graph and are made twice, the critic is called for real and fake
apart, gradients of the judges are computed in the generator's step and thrown away, the penalty has an Adam step of its own, the bypass of an up block is
enlarged before its 1x1 convolution.
"""
import time

import torch
from torch.nn import functional as F

from scgan_nb.core.batch import Batch
from scgan_nb.core.pixels import one_hot
from scgan_nb.networks.layers import UpBlock
from scgan_nb.trainers.scgan import SCGAN
from scgan_nb.trainers.trainer import Trainer

SIZE, WIDTH, BATCH, CLASSES, ATTRS = 64, 32, 8, 7, 5


class Noise:
    "Random pictures, masks and attributes: the time does not depend on what they show."
    classes, attr_names, size = [f"class {i}" for i in range(CLASSES)], [f"attribute {i}" for i in range(ATTRS)], SIZE

    def __len__(self): return 10_000

    def batch(self, indices):
        n = len(indices)
        return Batch(image=torch.rand(n, 3, SIZE, SIZE)*2 - 1, mask=torch.randint(0, CLASSES, (n, SIZE, SIZE)),
                     attrs=torch.randint(0, 2, (n, ATTRS)).float())


class PlainUpBlock(UpBlock):
    def forward(self, x):
        large = self.enlarge(F.relu(self.norm1(self.conv1(x))))
        main = self.norm2(F.conv2d(large, self.conv2.weight, self.conv2.bias, padding=1))
        return F.relu(main + self.bypass(self.enlarge(x)))


def plain_cycle(system, optimisers, data):
    "n_repeat steps in the published order."
    g, d, s = system.generator, system.discriminator, system.segmentor
    for i in range(5):
        b = data.batch(range(BATCH))
        x, ids, c = b["image"], b["mask"], b["attrs"]
        order, z = torch.randperm(BATCH), torch.randn(BATCH, system.z_dim)
        target = ids[order]
        fake = g(z, c, one_hot(target, CLASSES))
        src_real, cls = d(x)
        src_fake, _ = d(fake.detach())
        step(optimisers["d"], -src_real.mean() + src_fake.mean()
             + F.binary_cross_entropy_with_logits(cls, c, reduction="sum")/BATCH)
        alpha = torch.rand(BATCH, 1, 1, 1)
        between = (alpha*x + (1 - alpha)*fake.detach()).requires_grad_()
        slope, = torch.autograd.grad(d(between)[0].sum(), between, create_graph=True)
        step(optimisers["d"], 10*(slope.flatten(1).norm(dim=1) - 1).square().mean())
        step(optimisers["s"], F.cross_entropy(s(x), ids))
        if i == 4:
            fake = g(z, c, one_hot(target, CLASSES))
            src, cls = d(fake)
            step(optimisers["g"], -src.mean() + F.binary_cross_entropy_with_logits(cls, c, reduction="sum")/BATCH
                 + F.cross_entropy(s(fake), target))


def step(optimiser, loss):
    optimiser.zero_grad(); loss.backward(); optimiser.step()


def timed(f, repeat=4):
    f()
    times = []
    for _ in range(repeat):
        start = time.perf_counter(); f(); times.append(time.perf_counter() - start)
    return min(times)


def main():
    data = Noise()
    system = SCGAN.published("code", classes=CLASSES, attrs=ATTRS, size=SIZE, width=WIDTH, z_dim=128)
    for block in system.generator.decoder: block.__class__ = PlainUpBlock
    adam = lambda net, lr: torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.999), foreach=False)
    optimisers = dict(g=adam(system.generator, 5e-5), d=adam(system.discriminator, 5e-5),
                      s=adam(system.segmentor, 1e-4))
    plain = timed(lambda: plain_cycle(system, optimisers, data))
    print(f"{'plain':34} {plain:6.2f} s a cycle of 5 steps, batch {BATCH}, {SIZE} px, width {WIDTH}, "
          f"{torch.get_num_threads()} threads")
    for name, config, precision in (("code", "code", "no"), ("code, bf16", "code", "bf16"), ("paper", "paper", "no"),
                                    ("paper, bf16", "paper", "bf16")):
        model = SCGAN.published(config, classes=CLASSES, attrs=ATTRS, size=SIZE, width=WIDTH, z_dim=128)
        trainer = Trainer(model, data, batch=BATCH, ema=None, precision=precision, device="cpu", sample_every=0,
                          progress=None)
        ours = timed(lambda: trainer.fit(trainer.steps + 5))
        print(f"{name:34} {ours:6.2f} s   {plain/ours:5.2f} x")


if __name__ == "__main__": main()
