"""The first convolution of a mask as a look-up of class ids: one layer, then a whole training step, against planes of zeros and ones; and a mask that is read once for many styles.

Both forms give the same numbers. Times and memory as in `tests.bench.scc`; ratios are planes : ids.
"""
import torch
from torch.nn import functional as F

from scgan_nb.core.batch import Batch
from scgan_nb.core.pixels import one_hot
from scgan_nb.core.system import training_only
from scgan_nb.networks.look_up import look_up_conv2d
from scgan_nb.trainers.semantic_composition import SemanticComposition
from tests.bench.scc import peak, seconds

CHANNELS = 128 # hidden channels of SPADE
STEP = dict(size=64, batch=16)


def blobs(batch, n, size):
    "Masks of n classes in patches of 8x8 pixels."
    return F.interpolate(torch.randint(0, n, (batch, 1, size//8, size//8)).float(), scale_factor=8)[:, 0].long()


def one_layer(rounds):
    "Forward, and forward and backward; the planes' time includes making them, their memory, too."
    print(f"\n{'3x3, to ' + str(CHANNELS):24s} {'ms planes':>10s} {'ids':>8s} {'ratio':>6s} {'MB planes':>10s} "
          f"{'ids':>8s} {'ratio':>6s}")
    for n, size, batch in ((8, 64, 4), (19, 64, 4), (183, 64, 4), (19, 256, 1), (183, 256, 1)):
        ids, w = (blobs(batch, n, size),
                  torch.randn(CHANNELS, n, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_())
        forms = dict(planes=lambda: F.conv2d(one_hot(ids, n, check=False), w, padding=1),
                     ids=lambda: look_up_conv2d(ids, w, padding=1))
        with torch.no_grad():
            a, b = (f() for f in forms.values())
            assert (a - b).abs().max() < 1e-5*a.abs().max()
        for what, run in (("forward", torch.no_grad()), ("and backward", torch.enable_grad())):
            def task(f):
                with run: y = f()
                if y.requires_grad: y.backward(torch.ones_like(y))
            fs = {name: (lambda f=f: task(f)) for name, f in forms.items()}
            m, t = {name: peak(f) for name, f in fs.items()}, seconds(fs, rounds)
            print(f"{n:3d} planes {size:3d}px {what:12s} {1e3 * t['planes']:9.1f} {1e3 * t['ids']:8.1f} "
                  f"{t['planes'] / t['ids']:6.1f} {m['planes']:10.1f} {m['ids']:8.1f} {m['planes'] / m['ids']:6.1f}")


def step(system, batch, optimisers):
    "One step of training, without the data."
    batch = system.begin(Batch(batch))
    for update in system.updates:
        with training_only(system, update.trains): sum(system(batch, update.name).values()).backward()
        optimisers[update.name].step(); optimisers[update.name].zero_grad()


def whole_step(rounds):
    "A step of the published configuration at its full width; planes are made before."
    print(f"\n{'a training step':24s} {'s planes':>10s} {'ids':>8s} {'ratio':>6s} {'MB planes':>10s} {'ids':>8s} "
          f"{'ratio':>6s}")
    for name in ("coco-stuff", "ade20k", "scenes"):
        system = SemanticComposition.published(name, size=STEP["size"])
        for p in system.parameters():
            if p.ndim == 4: p.data = p.data.contiguous(memory_format=torch.channels_last) # as the trainer has it
        optimisers = {u.name: torch.optim.Adam([p for net in (u.trains or (u.name,))
                                                for p in system.networks[net].parameters()], u.lr, u.betas)
                      for u in system.updates}
        ids = blobs(STEP["batch"], len(system.classes), STEP["size"])
        batch = Batch(image=torch.rand(len(ids), 3, *ids.shape[1:])*2 - 1, mask=ids, instance=ids)
        given = dict(planes=Batch(batch, s=system.planes(batch).contiguous()), ids=batch)
        fs = {form: (lambda b=b: step(system, b, optimisers)) for form, b in given.items()}
        m, t = {form: peak(f) for form, f in fs.items()}, seconds(fs, rounds)
        print(f"{name + ', ' + str(len(system.classes)) + ' classes':24s} {t['planes']:10.2f} {t['ids']:8.2f} "
              f"{t['planes'] / t['ids']:6.2f} {m['planes']:10.0f} {m['ids']:8.0f} {m['planes'] / m['ids']:6.2f}")


def further_styles(rounds):
    "One more picture of the same mask in another style: all anew, or what the mask says kept."
    for name, change in (("celebamask-hq", dict(size=256, width=24)), ("scenes", {})):
        g = SemanticComposition.published(name, **change).generator.eval()
        ids, z = blobs(1, g.s_dim - 1, g.size[0]), torch.randn(1, g.z_dim)
        with torch.no_grad():
            reading = g.read(ids)
            t = seconds(dict(paint=lambda: g.paint(ids, z), repaint=lambda: g.repaint(reading, z)), rounds)
        print(f"{name + ', ' + str(g.size[0]) + ' px':24s} paint {1e3 * t['paint']:8.1f} ms, repaint "
              f"{1e3 * t['repaint']:8.1f} ms, ratio {t['paint'] / t['repaint']:5.2f}")


def main(rounds=7):
    torch.manual_seed(0)
    one_layer(rounds)
    whole_step(max(3, rounds//2))
    print(); further_styles(rounds)


if __name__ == "__main__":
    main()
