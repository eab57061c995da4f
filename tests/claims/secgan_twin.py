"""Does the twin help? SeCGAN on drawn faces of 32x32, with the semantic branch and with its backbone alone.

Two backbones, StarGAN and STGAN. Both forms have the same networks for photos, data, steps and seeds, and one parser
serves all runs, which go on where they were stopped:

    python -m tests.claims.secgan_twin --out out/claims
"""
import argparse
import json
from pathlib import Path

from scgan_nb.core.runtime import seed_everything
from scgan_nb.metrics.evaluate import evaluate
from scgan_nb.trainers.secgan import FacesConfig, SeCGAN, SeCGANParser
from scgan_nb.trainers.trainer import Trainer
from scgan_nb.worlds.faces import Faces
from tests.claims import report

SIZE, UNSEEN = 32, 1
SMALL = dict(d_layers=4, n_critic=1, sc_warmup=500, lr=5e-4)
BACKBONES = dict(stargan=dict(width=16, seg_width=12, n_blocks=3), stgan=dict(width=16, seg_width=12, g_layers=3))
METRICS = {"tarr[synthetic-faces-cnn]": 1, "kept[synthetic-faces-cnn]": 1, "edit_miou[faces-segmentor]": 1,
           "edit_error": -1, "edit_outside": -1, "l1": -1}


def faces(seed, n): return Faces(SIZE, labels="parts12", seed=seed, n=n, **FacesConfig.opens)


def trained(system, folder, steps, seed, batch=8, **settings):
    "The system after its steps, with averaged weights."
    trainer = Trainer(system, faces(0, 16_000), batch=batch, out=folder, precision="bf16", seed=seed, progress=None,
                      sample_every=0, ema=.995, **settings)
    trainer.fit(steps)
    with trainer.averaged() as averaged: averaged.save_pretrained(folder/"weights")
    return type(system).from_pretrained(folder/"weights")


def scores(out, backbone, seed, parser, steps, n):
    "Scores of both forms of a backbone for one seed."
    found = {}
    for twin in (True, False):
        file = out/f"{backbone}-{seed}-{'with' if twin else 'without'}.json"
        if not file.is_file():
            seed_everything(seed)
            system = SeCGAN.for_data(faces(0, 8), backbone, parts=dict(parser=parser) if twin else None, twin=twin,
                                     **SMALL, **BACKBONES[backbone])
            system = trained(system, file.with_suffix(""), steps, seed, decay=(steps//2, steps))
            results = evaluate(system, faces(UNSEEN, n), n=n, seed=seed, progress=False)
            file.write_text(json.dumps({k: v for k, v in results.items() if isinstance(v, float)}, indent=1))
        found[twin] = json.loads(file.read_text())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/claims"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parser-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--n", type=int, default=200, help="unseen faces to judge, each with every attribute flipped")
    args = parser.parse_args()
    out = args.out/"secgan"; out.mkdir(parents=True, exist_ok=True)
    seed_everything(0)
    network = trained(SeCGANParser.for_data(faces(0, 8)), out/"parser", args.parser_steps, 0)
    for backbone in BACKBONES:
        runs = [scores(out, backbone, seed, network, args.steps, args.n) for seed in range(args.seeds)]
        report(backbone, runs, METRICS, "the twin")


if __name__ == "__main__": main()
