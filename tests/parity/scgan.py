"""How the fixtures of scgan are run."""
import torch

from scgan_nb.losses.adversarial import gradient_penalty, wasserstein_critic, wasserstein_generator
from scgan_nb.losses.attributes import attribute_loss
from scgan_nb.losses.segmentation import segmentation_loss
from scgan_nb.official import load_official
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
    "The official training loop: critic, then its penalty as a second Adam step, segmentor, and every n_repeat-th time the generator."
    cfg, losses = fixture["config"], {}
    part = lambda letter, name, **kw: load_official(f"scgan/{name}", {n[2:]: w for n, w in weights.items() if n.startswith(f"{letter}.")}, **kw).train()
    G, D, S = part("G", "generator", c_dim=inputs["c0"].shape[1]), part("D", "discriminator"), part("S", "segmentor")
    adam = {net: torch.optim.Adam(net.parameters(), cfg[lr], (cfg["beta1"], cfg["beta2"])) for net, lr in [(G, "lr_g"), (D, "lr_d"), (S, "lr_s")]}
    note = lambda **terms: [losses.setdefault(name, []).append(value.detach()) for name, value in terms.items()]

    def step(net, loss):
        adam[net].zero_grad(); loss.backward(); adam[net].step()

    before = G(inputs["z0"], inputs["c0"], inputs["s0"]).detach()
    for i, order in enumerate(fixture["permutations"]):
        x, s, c, z, alpha = (inputs[f"{letter}{i}"] for letter in ("x", "s", "c", "z", "alpha"))
        fake_s = s[order]  # the attributes stay with their picture, the masks do not

        src, cls = D(x)
        fake = G(z, c, fake_s).detach()
        critic, wrong = wasserstein_critic(src, D(fake)[0]), attribute_loss(cls, c)
        step(D, critic["real"] + critic["fake"] + cfg["lambda_cls"] * wrong)
        penalty = gradient_penalty(lambda x: D(x)[0], x, fake, alpha=(alpha + 1) / 2)
        step(D, cfg["lambda_gp"] * penalty)
        note(d_loss_real=critic["real"], d_loss_fake=critic["fake"], d_loss_cls=wrong, d_loss_gp=penalty)

        seen = segmentation_loss(S(x), s.argmax(1))
        step(S, cfg["lambda_seg"] * seen)
        note(s_loss_real=seen)

        if (i + 1) % cfg["n_repeat"] == 0:
            fake = G(z, c, fake_s)
            src, cls = D(fake)
            adversarial, wrong, seen = wasserstein_generator(src), attribute_loss(cls, c), segmentation_loss(S(fake), fake_s.argmax(1))
            step(G, adversarial + cfg["lambda_cls"] * wrong + cfg["lambda_seg"] * seen)
            note(g_loss_fake=adversarial, g_loss_cls=wrong, g_loss_seg=seen)

    src, cls = D(inputs["x0"])
    return {**{name: torch.stack(values) for name, values in losses.items()}, "fake_before": before, "fake_after": G(inputs["z0"], inputs["c0"], inputs["s0"]),
            "d_src_after": src, "d_cls_after": cls, "s_logits_after": S(inputs["x0"])}


ADAPTERS = {
    "generator": Adapter("Generator_SC_3", generator),
    "generator_sc2": Adapter("Generator_SC_2", generator_sc2),
    "discriminator": Adapter("Discriminator_CNN", discriminator),
    "discriminator_sn": Adapter("Discriminator", discriminator_sn),
    "segmentor": Adapter("Segmentor", segmentor),
    "train_trajectory": Adapter("Solver.train", train_trajectory),
}
