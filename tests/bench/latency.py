"""One image from each of the systems that ship with the library: as loaded, and folded (`System.folded`).

Milliseconds, the median; both forms take turns, so that what else runs on the machine hits both. With one thread it is the time of the
processor, with two it is the time on the clock. The last column is what folding itself takes.

`paint` of SCA-GAN is another pose of a person whose style was read before, and of SeCGAN another edit of a face.
"""
import statistics
import time

import torch

from scgan_nb.core.batch import Batch
from scgan_nb.core.system import load_system
from scgan_nb.trainers.secgan import SeCGAN
from scgan_nb.widgets.studio import shown_with
from tests.bench.look_up import blobs

SYSTEMS = ("scgan-faces-64", "semantic-composition-scenes-64", "sca-gan-people-128x96", "secgan-faces-64")


def conditions(system, n=1):
    "A mask in patches, attributes, a latent; or persons and poses."
    if system.world == "people":
        given = shown_with(system).batch(range(n))
        return Batch({k: v for k, v in given.items() if k.endswith(("image", "pose"))}, z=torch.randn(n, system.z_dim))
    if isinstance(system, SeCGAN):
        given = shown_with(system).batch(range(n))
        return Batch(image=given["image"], attrs=given["attrs"], target_attrs=1 - given["attrs"])
    mask = blobs(n, len(system.classes), system.size)
    return Batch(mask=mask, instance=mask, attrs=torch.zeros(n, len(system.attr_names)), z=torch.randn(n, system.z_dim))


def medians(fs, rounds, clock):
    "Median milliseconds of each function."
    times = {name: [] for name in fs}
    for r in range(rounds + 3):
        for name, f in fs.items():
            start = clock(); f(); end = clock()
            if r >= 3: times[name].append(end - start) # the first calls make buffers
    return {name: 1e3*statistics.median(t) for name, t in times.items()}


def main(rounds=30):
    torch.manual_seed(0)
    before = torch.get_num_threads()
    print(f"{'':34}{'threads':>8}{'part':>8}{'ms':>8}{'folded':>8}{'ratio':>7}")
    try:
        for name in SYSTEMS:
            plain = load_system(name)
            start = time.perf_counter(); quick = plain.folded(); seconds = time.perf_counter() - start
            batch = conditions(plain)
            difference = (plain.sample(batch) - quick.sample(batch)).abs().max()
            for threads in (1, 2):
                torch.set_num_threads(threads)
                clock = time.process_time if threads == 1 else time.perf_counter
                for part in ("sample", "read", "paint"):
                    fs = {form: (lambda s=s, x=batch if part != "paint" else s.read(batch): getattr(s, part)(x))
                          for form, s in dict(plain=plain, quick=quick).items()}
                    t = medians(fs, rounds, clock)
                    print(f"{name:34}{threads:8}{part:>8}{t['plain']:8.2f}{t['quick']:8.2f}{t['plain']/t['quick']:7.2f}")
            print(f"{name}: images differ by {difference:.0e} of 2; folding takes {1e3*seconds:.0f} ms")
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    main()
