"""How the fixtures of secgan are run."""
import torch
from torch.nn import functional as F

from scgan_nb.losses.adversarial import critic_loss, critic_slopes, gradient_penalty
from scgan_nb.losses.attributes import attribute_loss
from scgan_nb.losses.consistency import consistency_loss, entropy
from scgan_nb.networks.layers import n_parameters
from scgan_nb.networks.secgan import PARTS_OF_19, grouped, merge_logits
from scgan_nb.official.translate import load_official
from tests.parity.adapter import Adapter

SLOPES = {"relu": 0., "lrelu": 0.01, "none": 1.} # of AttGAN-PyTorch's activations
NORMS = {"batchnorm": "batch", "instancenorm": "instance", "none": "none"}
NAN = float("nan") # for an output that our own second way contradicts


def training(fixture): return fixture["mode"].startswith("train")


def load(name, fixture, weights, **config):
    "A network with the fixture's weights, in the fixture's mode."
    net = load_official(f"secgan/{name}", weights, **config).train(training(fixture))
    if fixture.get("parameters") not in (None, n_parameters(net)):
        raise ValueError(f"has {n_parameters(net)} parameters, recorded are {fixture['parameters']}")
    return net


def agree(a, b):
    "Whether two forms of one network differ by rounding alone, which a chain of norms enlarges."
    return (a - b).abs().max() <= 5e-5*b.abs().max()


def named(config, table, **ours):
    "Our arguments for those of a config that are names in a table."
    return {k: table[config[theirs]] for k, theirs in ours.items() if theirs in config}


def edited(net, inputs):
    "All outputs of a generator, in the format of training as in the public code, in parts, and in that of inference."
    x, y = next(x for n, x in inputs.items() if n != "y_diff"), inputs["y_diff"]
    quick = net(x, y)
    with torch.enable_grad():
        out, z = net(x, y), net.encode(x)
        pre = net.decode(z, y)
    same = torch.equal(net.finish(pre), out) and agree(quick, out)
    return {"out": out if same else out*NAN, "pre_tanh": pre, "pre_softmax": pre, "z": z[-1]}


def stargan_generator(fixture, weights, inputs):
    config, y = fixture["config"], inputs["y_diff"]
    masks = dict(output="softmax") if "n_seg" in config else {}
    nets = [load("stargan_generator", fixture, weights, c_dim=y.shape[1], statistics=s, **masks)
            for s in ("tracked", "image")]
    tracked, each = (edited(net, inputs) for net in nets)
    if not training(fixture): return tracked
    return {n: x if agree(each[n], x) else x*NAN for n, x in tracked.items()} # both have the statistics of each image


def stargan_discriminator(fixture, weights, inputs):
    x, = inputs.values()
    net = load("stargan_discriminator", fixture, weights, size=tuple(x.shape[-2:]))
    src, cls = net(x)
    return {"src": src[:, None], "cls": cls}


def attgan_generator(fixture, weights, inputs):
    config = fixture["config"]
    told = named(config, SLOPES, slope="enc_acti_fn", dec_slope="dec_acti_fn")
    told |= named(config, NORMS, norm="enc_norm_fn")
    told |= {k: config[k] for k in ("shortcut_layers", "inject_layers") if k in config}
    return edited(load("attgan_generator", fixture, weights, **told), inputs)


def attgan_discriminator(fixture, weights, inputs):
    config, (x,) = fixture["config"], inputs.values()
    told = named(config, SLOPES, slope="acti_fn", fc_slope="fc_acti_fn") | named(config, NORMS, norm="norm_fn")
    if "fc_acti_fn" not in config: told |= dict(fc_slope=SLOPES["lrelu"]) # the class's own default
    net = load("attgan_discriminator", fixture, weights, size=tuple(x.shape[-2:]), **told)
    return dict(zip(("adv", "cls"), net(x)))


def stgan_generator(fixture, weights, inputs):
    told = {k: n for k, n in fixture["config"].items() if k == "shortcut_layers"} | dict(inject_layers=0)
    return edited(load("stgan_generator", fixture, weights, **told), inputs)


def stgan_discriminator(fixture, weights, inputs):
    x, = inputs.values()
    size = dict(size=tuple(x.shape[-2:]))
    nets = [load("stgan_discriminator", fixture, weights, **size, statistics=s) for s in ("tracked", "image")]
    outs = [torch.cat(net(x), 1) for net in nets]
    same = agree(*outs) or not training(fixture)
    adv, att = outs[0].tensor_split([1], 1)
    return {"adv": adv if same else adv*NAN, "att": att, "cls": att}


def unet(fixture, weights, inputs):
    "The network alone, and with a table at its end, which must give the sums of probabilities."
    x, = inputs.values()
    l = load("celebamask_unet", fixture, weights)(x)
    if l.shape[1] != len(PARTS_OF_19): return {"logits": l}
    p, table = load("celebamask_unet", fixture, weights, table=PARTS_OF_19)(x).softmax(1), torch.tensor(PARTS_OF_19)
    sums = torch.zeros_like(p).index_add(1, table, l.softmax(1))
    return {"logits": l if agree(p, sums) else l*NAN}


def agreement(inputs):
    "Cross-entropies of two maps, their floor, and the merged parts."
    a, b, p19 = (inputs[n] for n in ("a", "b", "p19"))
    soft = lambda l, t, **kw: consistency_loss(l, t.softmax(1), "soft", **kw)
    order, sizes = grouped(PARTS_OF_19)
    return {"ce_ab": soft(b, a), "ce_ba": soft(a, b), "kl_ab": soft(b, a, floor=True),
            "entropy_a": entropy(a.softmax(1)), "p12": merge_logits(p19, torch.tensor(order), sizes).softmax(1)}


@torch.enable_grad()
def losses(fixture, weights, inputs):
    "All terms, and the gradients of the discriminator's."
    real, fake, y, logits = (inputs[n] for n in ("real", "fake", "y", "cls_logit"))
    D = load_official("secgan/stargan_discriminator", weights).train()
    critic, alpha = lambda x: D(x)[0], (inputs["alpha_u"] + 1)/2
    (src, cls), gp = D(real), gradient_penalty(critic, real, fake, alpha=alpha)
    terms = critic_loss(src, critic(fake), "w")
    total = sum(terms.values()) + 10*gp + attribute_loss(cls, y)
    layers = {"conv1": D.critic, "conv2": D.classifier, "main0": D.trunk[0]}
    grads = torch.autograd.grad(total, [layer.weight for layer in layers.values()])
    return {**agreement(inputs), "bce_sum": attribute_loss(logits, y),
            "bce_mean": attribute_loss(logits, y, reduce="mean"), "rec_l1": F.l1_loss(inputs["x_rec"], inputs["x_in"]),
            "gp": gp, "grad_norms": critic_slopes(critic, real, fake, alpha=alpha), "d_real": terms["real"],
            "d_fake": terms["fake"], "d_total": total, **{f"grad_{name}": g for name, g in zip(layers, grads)}}


ADAPTERS = {
    "stargan_generator": Adapter("model.Generator", stargan_generator),
    "stargan_discriminator": Adapter("model.Discriminator", stargan_discriminator),
    "seg_generator": Adapter("G_seg", stargan_generator),
    "seg_discriminator": Adapter("D_seg", stargan_discriminator),
    "attgan_generator": Adapter("attgan.Generator", attgan_generator),
    "attgan_discriminator": Adapter("attgan.Discriminators", attgan_discriminator),
    "stgan_generator": Adapter("stgan.Generator", stgan_generator),
    "stgan_discriminator": Adapter("stgan.Discriminator", stgan_discriminator),
    "celebamask_unet": Adapter("unet.unet", unet),
    "losses": Adapter("solver.Solver", losses),
}
