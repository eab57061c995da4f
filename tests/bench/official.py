"""Training steps and forwards of the systems against the authors' programs, at full width, in float32, unless a row says otherwise.

The authors' times are kept as multiples of a unit, a small training step in plain PyTorch that is measured again here, in turn with ours. As theirs was, it is measured in a process that knows nothing of this package and
its settings. The numbers are reference data: the folder that SCGAN_NB_SHARED names holds them in `speed/`; without it, nothing is compared. A ratio above 1 means that this package is faster. In rows with `bf16` ours computes in 16 bits and theirs in 32.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from scgan_nb.core.batch import Batch
from scgan_nb.datasets.poses import heat_maps, moved_edges
from scgan_nb.networks.backbones import PUBLIC_STGAN, STGANGenerator
from scgan_nb.networks.vgg import RELU_1, VGG
from scgan_nb.losses.perceptual import PIX2PIXHD_WEIGHTS
from scgan_nb.trainers import sca_gan, semantic_composition
from scgan_nb.trainers.sca_gan import SCAGAN, SCAGANEdges
from scgan_nb.trainers.scgan import SCGAN
from scgan_nb.trainers.secgan import SeCGAN
from scgan_nb.trainers.semantic_composition import SemanticComposition
from scgan_nb.trainers.trainer import Trainer

THREADS = 2 # the authors' programs were measured with two


def random_batch(classes, size, batch, attrs=0):
    "Random images, label maps of 8x8 patches and attributes."
    ids = F.interpolate(torch.randint(0, classes, (batch, 1, size//8, size//8)).float(), scale_factor=8)[:, 0].long()
    made = Batch(image=torch.rand(batch, 3, size, size)*2 - 1, mask=ids, instance=ids)
    return made | dict(attrs=torch.randint(0, 2, (batch, attrs)).float()) if attrs else made


def random_vgg(name=None, normalize=False, taps=RELU_1):
    "VGG-19 at its true size, with random weights."
    net = VGG("vgg19", taps, normalize).eval().requires_grad_(False)
    net.weights = PIX2PIXHD_WEIGHTS
    return net


@cache
def folded(system):
    "The generator as `scgan_sample` and `evaluate` use it: constants folded, once."
    return system.folded().generator


def scgan():
    "{key of the reference: work}: five steps, the fifth with the generator; and one image without gradients."
    system = SCGAN.published("code", classes=7, attrs=5, size=128, width=64, z_dim=512)
    trainer, batch = Trainer(system, batch=4, device="cpu", progress=None), random_batch(7, 128, 4, 5)
    one = (torch.randn(1, 512), batch["attrs"][:1], system.planes(batch["mask"][:1]))
    return trainer, dict(cycle_s=lambda: [trainer.step(batch) for _ in range(system.h.n_repeat)],
                         forward_b1_s=lambda: system.generator(*one),
                         forward_b1_s_folded=lambda: folded(system)(*one))


def composition(config, size=64):
    "{key of the reference: work}: one step of generator and discriminator; one image without gradients."
    def make():
        made, semantic_composition.perceptual_network = semantic_composition.perceptual_network, random_vgg
        try: system = SemanticComposition.published(config, size=size)
        finally: semantic_composition.perceptual_network = made
        trainer = Trainer(system, batch=2, device="cpu", progress=None)
        batch = random_batch(len(system.classes), size, 2)
        s, z = system.layout(batch)[:1], torch.randn(1, system.z_dim) if system.z_dim else None
        return trainer, dict(train_iteration_s=lambda: trainer.step(batch),
                             infer_batch1_s=lambda: system.generator.paint(s, z),
                             infer_batch1_s_folded=lambda: folded(system).paint(s, z))
    return make


def pose_transfer(cls):
    "{key of the reference: work}: a step with all losses; one image (or edge map), and one more of the same person."
    def make():
        made = sca_gan.vgg19, sca_gan.vgg_conv
        sca_gan.vgg19, sca_gan.vgg_conv = random_vgg, lambda source: random_vgg(taps=("r32", "r42"))
        try:
            extra = dict(cx_features="vgg_conv.pth") if cls is SCAGAN else {}
            system = cls.published("deepfashion-official", features="vgg19", **extra)
            system.helpers
        finally: sca_gan.vgg19, sca_gan.vgg_conv = made
        trainer = Trainer(system, batch=1, device="cpu", progress=None)
        image, pose = (lambda: torch.rand(1, 3, 256, 176)*2 - 1), (lambda: torch.rand(1, 18, 2)*torch.tensor([255., 175.]))
        batch = Batch(source_image=image(), target_image=image(), source_pose=pose(), target_pose=pose(),
                      source_edge=image()[:, :1], target_edge=image()[:, :1])
        given = system.begin(batch)
        works = dict(train_iter_s=lambda: trainer.step(batch), forward_b1_s=lambda: system.make(given))
        in_16_bits = cache(lambda: Trainer(system, batch=1, device="cpu", precision="bf16", progress=None))
        last = dict(train_iter_s_bf16=lambda: in_16_bits().step(batch)) # it changes the layout of the networks
        if cls is SCAGANEdges: return trainer, works | last
        state = system.read(batch)
        works["forward_b1_s"] = lambda: (system.prepared(given), system.make(given))[1]
        works["forward_b1_s_style_cached"] = lambda: system.isnet.paint(
            state.style, system.content_of(given["source_edge"], given["B2"], given["M"]), given["B2"], state.z)
        works["heatmap_s"] = lambda: heat_maps(batch["target_pose"], (256, 176))
        works["crop_shift_s"] = lambda: moved_edges(batch["source_edge"], batch["source_pose"], batch["target_pose"])
        return trainer, works | last
    return make


def editing(backbone):
    "{key of the reference: work}: a step of all four networks; one of a discriminator alone; one edited image."
    def make():
        system = SeCGAN.published(backbone, n_critic=1, rhythm="same", sc_warmup=0)
        alone = SeCGAN.published(backbone, twin=False, n_critic=1000, rhythm="same") # its generator rests
        n, parts = len(system.attr_names), len(system.parts)
        if backbone == "stgan": # the authors' times are those of the public PyTorch class, with two transfer units
            system.generator = STGANGenerator(n, **PUBLIC_STGAN)
            system.seg_generator = STGANGenerator(n, channels=parts, output="softmax", **PUBLIC_STGAN)
        batch = Batch(image=torch.rand(2, 3, 128, 128)*2 - 1, attrs=torch.randint(0, 2, (2, n)).float())
        trainer, critic = (Trainer(s, batch=2, device="cpu", progress=None) for s in (system, alone))
        one = batch["image"][:1], batch["attrs"][:1]
        return trainer, dict(secgan_iter_s=lambda: trainer.step(batch), d_update_s=lambda: critic.step(batch),
                             forward_b1_s=lambda: system.generator(*one),
                             forward_b1_s_folded=lambda: folded(system)(*one))
    return make


WORKS = {"scgan/code-128-b4": scgan,
         **{f"semantic_composition/{c}-64-b2": composition(c) for c in ("celebamask-hq", "coco-stuff", "ade20k")},
         "sca_gan/edges-256x176-b1": pose_transfer(SCAGANEdges), "sca_gan/images-256x176-b1": pose_transfer(SCAGAN),
         **{f"secgan/{b}-128-b2": editing(b) for b in ("stargan", "attgan", "stgan")}}


def seconds(f):
    start = time.perf_counter(); f()
    return time.perf_counter() - start


def report(name, make, unit, reference, rounds):
    "One line for each piece of work: seconds and units of ours, units of theirs, the ratio."
    torch.manual_seed(0)
    trainer, works = make()
    for key, work in works.items():
        if key.removesuffix("_folded").removesuffix("_style_cached") not in reference[name]["units"]: continue
        training = not any(word in key for word in ("forward", "infer", "heatmap", "crop_shift"))
        trainer.system.train(training)
        with torch.set_grad_enabled(training):
            work(); ratios, times = [], []
            for _ in range(rounds):
                before, t, after = unit(), statistics.median(seconds(work) for _ in range(1 if training else 5)), unit()
                times.append(t); ratios.append(2*t/(before + after))
        ours, theirs = statistics.median(ratios), reference[name]["units"][re.sub("_(folded|style_cached|bf16)$", "", key)]
        print(f"{name:40} {key:22} {statistics.median(times):7.3f} s  {ours:7.2f} units, official {theirs:7.2f}: "
              f"{theirs/ours:5.2f} x  ({min(theirs/r for r in ratios):.2f} to {max(theirs/r for r in ratios):.2f})", flush=True)


def main(rounds=5):
    folder = Path(os.environ.get("SCGAN_NB_SHARED", ""), "speed")
    if not folder.is_dir(): print(f"nothing to compare with: SCGAN_NB_SHARED names no folder with {folder}"); return
    torch.set_num_threads(THREADS)
    reference = json.loads((folder/"official.json").read_text())
    code = (f"import sys, torch; sys.path.insert(0, {str(folder.resolve())!r}); torch.set_num_threads({THREADS}); "
            "import unit\nfor line in sys.stdin: print(unit.unit(), flush=True)")
    env = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    with subprocess.Popen([sys.executable, "-c", code], env=env, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        def unit():
            print(file=process.stdin, flush=True)
            return float(process.stdout.readline())
        for name, make in WORKS.items(): report(name, make, unit, reference, rounds)
        process.stdin.close()


if __name__ == "__main__": main()
