"""How the fixtures of scgan are run."""
import torch

from scgan_nb.core.batch import Batch
from scgan_nb.official.translate import load_official
from scgan_nb.trainers.scgan import SCGAN
from scgan_nb.trainers.trainer import Trainer
from tests.parity.adapter import Adapter


def generator(fixture, weights, inputs):
    net = load_official("scgan/generator", weights, c_dim=inputs["c"].shape[1])
    pre = net.pre_tanh(net.encode(inputs["s"]), inputs["z"], inputs["c"])
    return {"pre_tanh": pre, "fake": net(inputs["z"], inputs["c"], inputs["s"])}


def generator_sc2(fixture, weights, inputs):
    net = load_official("scgan/generator_sc2", weights)
    args = inputs["z"], inputs["c"], inputs["s"]
    return {"pre_tanh": net.pre_tanh(*args), "fake": net(*args)}


def discriminator(fixture, weights, inputs):
    return dict(zip(("src", "cls"), load_official("scgan/discriminator", weights)(inputs["x"])))


def discriminator_sn(fixture, weights, inputs):
    "Every forward refines the singular vectors, so the number and order of the forwards matter."
    net = load_official("scgan/discriminator_sn", weights)
    src, cls = net(inputs["x"])
    src_2nd, cls_2nd = net(inputs["x"])
    h = load_official("scgan/discriminator_sn", weights).features(inputs["x"])
    return {"src": src, "cls": cls, "src_2nd": src_2nd, "cls_2nd": cls_2nd, "h": h}


def segmentor(fixture, weights, inputs): return {"logits": load_official("scgan/segmentor", weights)(inputs["x"])}


@torch.enable_grad()
def train_trajectory(fixture, weights, inputs):
    "The official training loop is our trainer on our system with the draws of the fixture, in float64."
    cfg = fixture["config"]
    system = SCGAN.published("code", classes=cfg["s_dim"], attrs=cfg["c_dim"], size=cfg["size"], width=cfg["width"],
                             z_dim=cfg["z_dim"], n_repeat=cfg["n_repeat"], lambda_cls=cfg["lambda_cls"],
                             lambda_seg=cfg["lambda_seg"], lambda_gp=cfg["lambda_gp"],
                             lr=[cfg["lr_g"], cfg["lr_d"], cfg["lr_s"]])
    def part(letter, name, **config):
        of_part = {n[2:]: w for n, w in weights.items() if n.startswith(f"{letter}.")}
        return load_official(f"scgan/{name}", of_part, **config)
    system.generator, system.discriminator = part("G", "generator", c_dim=cfg["c_dim"]), part("D", "discriminator")
    system.segmentor = part("S", "segmentor")
    system.double()
    inputs = {k: v.double() for k, v in inputs.items()}
    assert {u.betas for u in system.updates} == {(cfg["beta1"], cfg["beta2"])}
    trainer = Trainer(system, batch=cfg["batch"], device="cpu", progress=None)

    def fake():
        with torch.no_grad(): return system.generator(inputs["z0"], inputs["c0"], inputs["s0"])

    unweighted = dict(cls=cfg["lambda_cls"], gp=cfg["lambda_gp"], seg=cfg["lambda_seg"])
    letters = dict(discriminator="d", penalty="d", segmentor="s", generator="g")
    names, losses = {"s_loss_seg": "s_loss_real", "g_loss_adv": "g_loss_fake"}, {}
    before = fake()
    for i, order in enumerate(fixture["permutations"]):
        batch = Batch(image=inputs[f"x{i}"], mask=inputs[f"s{i}"].argmax(1), attrs=inputs[f"c{i}"], z=inputs[f"z{i}"],
                      order=torch.as_tensor(order), alpha=(inputs[f"alpha{i}"] + 1)/2)
        for term, value in trainer.step(batch).items():
            update, term = term.split("/")
            name, scale = f"{letters[update]}_loss_{term}", 1. if update == "segmentor" else unweighted.get(term, 1.)
            losses.setdefault(names.get(name, name), []).append(value/scale)

    src, cls = system.discriminator(inputs["x0"])
    return {**{name: torch.stack(values) for name, values in losses.items()}, "fake_before": before,
            "fake_after": fake(), "d_src_after": src, "d_cls_after": cls,
            "s_logits_after": system.segmentor(inputs["x0"])}


ADAPTERS = {
    "generator": Adapter("Generator_SC_3", generator),
    "generator_sc2": Adapter("Generator_SC_2", generator_sc2),
    "discriminator": Adapter("Discriminator_CNN", discriminator),
    "discriminator_sn": Adapter("Discriminator", discriminator_sn),
    "segmentor": Adapter("Segmentor", segmentor),
    "train_trajectory": Adapter("Solver.train", train_trajectory),
}
