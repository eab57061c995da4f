"""A convolution with its own kernel at every pixel: how it can be computed, and what that costs.

64 channels, 64x64 pixels, 3 experts. All forms give the same numbers. Time is the median of several runs, memory the peak of what is allocated during one run, over what was there before.
What autograd keeps between forward and backward, where `recompute=True` saves, is counted in the notebook of `networks.spatial_conditioning`.
"""
import statistics
import time

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from scgan_nb.networks.spade import SPADE
from scgan_nb.networks.spatial_conditioning import SpatialCondConv2d, spatial_cond_conv2d

EXPERTS, CHANNELS, SIZE, CLASSES = 3, 64, 64, 19


def per_pixel(x, experts, r):
    "The definition: makes the kernel of every pixel, then one product of matrix and vector for each."
    (K, O, I, h, w), B = experts.shape, len(x)
    kernels = (r.flatten(2).mT @ experts.reshape(K, -1)).unflatten(2, (O, -1)) # (B,H*W,Cout,Cin*h*w)
    patches = F.unfold(x, (h, w), padding=h//2).mT[..., None] # (B,H*W,Cin*h*w,1)
    return (kernels @ patches)[..., 0].mT.reshape(B, O, *r.shape[-2:])


def published(x, experts, r):
    "K outputs, concatenated, multiplied, summed."
    outs = torch.cat([F.conv2d(x, w, padding=1) for w in experts], 1)
    return (outs*r.repeat_interleave(experts.shape[1], 1)).unflatten(1, experts.shape[:2]).sum(1)


def ours(x, experts, r): return spatial_cond_conv2d(x, experts, r, padding=1)


def ours_recompute(x, experts, r): return spatial_cond_conv2d(x, experts, r, padding=1, recompute=True)


def peak(f):
    "Largest amount of memory in MB that f() holds at a time."
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p: f()
    events = sorted((e.start_ns(), e.nbytes()) for e in p.profiler.kineto_results.events() if e.name() == "[memory]")
    held = most = 0
    for _, nbytes in events: most = max(most, held := held + nbytes)
    return most/2**20


def seconds(fs, rounds):
    "Median time of each function; they take turns, so that what else runs on the machine hits all of them."
    times = {name: [] for name in fs}
    for _ in range(rounds):
        for name, f in fs.items():
            start = time.perf_counter()
            f()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def measure(forms, step, rounds):
    "{form: (seconds, MB)} of step(form); the definition runs once only."
    fs = {name: (lambda form=form: step(form)) for name, form in forms.items()}
    memory = {name: peak(f) for name, f in fs.items()} # a warm-up, too
    times = (seconds({n: f for n, f in fs.items() if n != "per pixel"}, rounds)
             | seconds({"per pixel": fs["per pixel"]}, 1))
    return {name: (times[name], memory[name]) for name in forms}


def report(title, results):
    "A table, relative to ours."
    t0, m0 = results["ours"]
    print(f"\n{title}\n{'form':24s} {'ms':>9s} {'x ours':>8s} {'MB':>9s} {'x ours':>8s}")
    for name, (t, m) in results.items(): print(f"{name:24s} {1e3 * t:9.2f} {t / t0:8.2f} {m:9.2f} {m / m0:8.2f}")


def small_map(rounds):
    "A training step of the layer on a coarse map, spectral norm included: as one product, and as maps of experts."
    x, r = torch.randn(2, 768, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4).softmax(1).requires_grad_()
    layer = SpatialCondConv2d(768, 768)
    def step(suits):
        layer.suits_product, layer.experts.grad = (lambda x: suits), None
        layer(x, r).square().sum().backward()
    t = seconds({"one product": lambda: step(True), "a map for each expert": lambda: step(False)}, rounds)
    print("\n2 x 768 channels, 4x4 pixels, forward and backward")
    for name, s in t.items(): print(f"{name:24s} {1e3*s:9.2f} ms {s/t['one product']:8.2f}")


def main(rounds=15):
    "Compare all forms, without and with gradients."
    torch.manual_seed(0)
    x, experts, s = (torch.randn(1, CHANNELS, SIZE, SIZE), torch.randn(EXPERTS, CHANNELS, CHANNELS, 3, 3)/24,
                     torch.rand(1, CLASSES, SIZE, SIZE))
    r, spade, conv = (torch.randn(1, EXPERTS, SIZE, SIZE).softmax(1), SPADE(CHANNELS, CLASSES),
                      torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    forms = {"ours": ours, "ours, recompute": ours_recompute, "published formulation": published,
             "per pixel": per_pixel}
    reference = per_pixel(x, experts, r)
    for name, form in forms.items():
        print(f"{name:24s} differs from the definition by "
              f"{(form(x, experts, r) - reference).abs().max() / reference.abs().max():.1e} of its largest value")
    forms["SPADE + convolution"] = lambda x, experts, r: conv(spade(x, s))

    def forward(form):
        with torch.no_grad(): form(x, experts, r)

    def training(form):
        inputs = [t.clone().requires_grad_() for t in (x, experts, r)]
        form(*inputs).square().sum().backward()

    report("forward", measure(forms, forward, rounds))
    report("forward and backward", measure(forms, training, rounds))
    small_map(rounds)


if __name__ == "__main__":
    main()
