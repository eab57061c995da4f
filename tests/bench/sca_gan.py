"""The style of SCA-GAN computed once for all equal pixels, and a person whose style is read once for many poses.

Both forms give the same numbers. Times as in `tests.bench.scc`; a ratio is the naive form's time by ours, in one run.
"""
import torch

from scgan_nb.networks.content_style import Modulations, modulate
from scgan_nb.networks.sca_gan import ISNet
from scgan_nb.networks.spade import SPADE
from tests.bench.scc import seconds

PLACES = (("up 1", 512, (64, 44)), ("up 2", 256, (128, 88)), ("up 3", 128, (256, 176)))
SMALL = dict(size=(128, 96), width=16, style_width=16, hidden=32, z_dim=64)


def two_layers(rounds):
    "Two SPADE layers with the style of 8x6 positions and 512 channels, as in each block of the paper's size."
    print(f"\n{'two norms of the style':24s} {'ms naive':>9s} {'ours':>8s} {'ratio':>6s}")
    for name, channels, size in PLACES:
        style, x, mods = torch.randn(1, 512, 8, 6), torch.randn(1, channels, *size), Modulations(channels, 512)
        spades = [SPADE(channels, 512, norm="instance") for _ in range(2)]
        forms = dict(naive=lambda: sum(spade(x, style) for spade in spades),
                     ours=lambda: sum(modulate(spades[0].norm(x), affine) for affine in mods(style, size)))
        for what, run in (("forward", torch.no_grad()), ("and backward", torch.enable_grad())):
            def task(f):
                with run: y = f()
                if y.requires_grad: y.backward(torch.ones_like(y))
            t = seconds({name: (lambda f=f: task(f)) for name, f in forms.items()}, rounds)
            print(f"{name} {what:19s} {1e3*t['naive']:9.1f} {1e3*t['ours']:8.1f} {t['naive']/t['ours']:6.1f}")


@torch.no_grad()
def many_poses(rounds):
    "One more image: everything anew, with the style that was read, with style and content that were read."
    net, (h, w) = ISNet(**SMALL).eval(), SMALL["size"]
    P1, edge, pose = (torch.rand(1, n, h, w) for n in (3, 1, 18))
    z = torch.randn(1, SMALL["z_dim"])
    style, content = net.read(P1), net.read_content(edge, pose)
    t = seconds(dict(all=lambda: net(P1, edge, pose, z), pose=lambda: net.paint(style, edge, pose, z),
                     z=lambda: net.render(style, content, z)), rounds)
    print(f"\none image of {h}x{w}: {1e3*t['all']:.0f} ms; another pose {t['pose']/t['all']:.2f} of it, "
          f"another z {t['z']/t['all']:.2f}")


def main(rounds=3):
    torch.manual_seed(0)
    two_layers(rounds)
    many_poses(2*rounds)


if __name__ == "__main__": main()
