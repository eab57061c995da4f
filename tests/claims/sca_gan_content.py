"""Do the edges help? SCA-GAN on drawn people of 64x48, with the content branch and with an empty sheet in its place.

Both have the same networks, data, steps and seeds. Runs go on where they were stopped:

    python -m tests.claims.sca_gan_content --out out/claims
"""
import argparse
import json
from pathlib import Path

from scgan_nb.core.runtime import seed_everything
from scgan_nb.metrics.evaluate import evaluate
from scgan_nb.trainers.sca_gan import SCAGAN, SCAGANEdges
from scgan_nb.trainers.trainer import Trainer
from scgan_nb.worlds.people import People
from tests.claims import report

SIZE, UNSEEN = (64, 48), 1
METRICS = dict(ssim=1, **{"masked_ssim[mask]": 1, "perceptual[people-cnn]": -1, "pckh[people-detector]": 1,
                          "fid[people-cnn]": -1, "attribute_accuracy[people-cnn]": 1})


def people(seed, n): return People(SIZE, place="same", seed=seed, n=n)


def trained(system, folder, steps, seed, batch):
    "The system after its steps, with averaged weights where it keeps some."
    trainer = Trainer(system, people(0, 40_000), batch=batch, out=folder, precision="bf16", seed=seed, progress=None,
                      sample_every=0, ema=.998)
    trainer.fit(steps)
    with trainer.averaged() as averaged: averaged.save_pretrained(folder/"weights")
    return type(system).from_pretrained(folder/"weights")


def scores(out, seed, edge_steps, steps, n):
    "Scores of both forms for one seed."
    found = {}
    for content in (True, False):
        file = out/f"{seed}-{'with' if content else 'without'}.json"
        if not file.is_file():
            seed_everything(seed)
            first = trained(SCAGANEdges.for_data(people(0, 8)), out/f"{seed}-edges", edge_steps, seed, 8)
            seed_everything(seed)
            system = SCAGAN.for_data(people(0, 8), parts=dict(edges=first), content=content)
            system = trained(system, file.with_suffix(""), steps, seed, 4)
            results = evaluate(system, people(UNSEEN, 2*n), n=n, seed=seed, progress=False)
            file.write_text(json.dumps({k: v for k, v in results.items() if k.split("/")[-1] in METRICS}, indent=1))
        found[content] = json.loads(file.read_text())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/claims"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--edge-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--n", type=int, default=300, help="unseen pairs to judge")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [scores(args.out, seed, args.edge_steps, args.steps, args.n) for seed in range(args.seeds)]
    report("", runs, METRICS, "edges")


if __name__ == "__main__": main()
