"""How the fixtures of sca_gan are run."""
import torch
from torch.nn import functional as F

from scgan_nb.datasets.poses import heat_maps, joints_of, moved_edges
from scgan_nb.losses.adversarial import critic_loss, generator_loss
from scgan_nb.losses.contextual import OFFICIAL, contextual_loss, contextual_similarity
from scgan_nb.losses.perceptual import perceptual_loss
from scgan_nb.networks.content_style import ContentStyleDeBlk
from scgan_nb.networks.sca_gan import StyleEncoder
from scgan_nb.networks.vgg import vgg19, vgg_conv, vgg_layers
from scgan_nb.official.sca_gan import block_names, style_names
from scgan_nb.official.translate import Official, load_official, translate
from tests.parity.adapter import Adapter

ASPECT = 256/176 # of the official code, whatever the size is


def training(fixture): return fixture["mode"].startswith("train")


def load(name, fixture, weights, **config):
    "A network with the fixture's weights, in the fixture's mode."
    return load_official(f"sca_gan/{name}", weights, **config).train(training(fixture))


def load_part(net, fixture, weights, names):
    "A part of a network, by the same rules as whole networks."
    net.load_state_dict(translate(Official(type(net), None, lambda net: names), net, weights))
    return net.train(training(fixture))


def part(weights, prefix):
    "The tensors of one network of several, by its own names."
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


def pctnet(fixture, weights, inputs):
    return {"fake_EP2": load("pctnet", fixture, weights)(inputs["EP1"], inputs["BP2"], inputs["BEP2"])}


def discriminator(fixture, weights, inputs):
    net = load("discriminator", fixture, weights, sigmoid=fixture["config"].get("use_sigmoid", False))
    return {"pred": net(inputs["x"])}


def csdeblk(fixture, weights, inputs):
    "With conditions as maps, and as scales and shifts that were made before."
    config, size = fixture["config"], inputs["x"].shape[-2:]
    conditions = [inputs[n] for n in ("style", "content_edge", "content_pose")]
    net = ContentStyleDeBlk(config["fin"], config["fout"], config["style_nc"], *(s.shape[1] for s in conditions[1:]),
                            hidden=weights["norm_s1.mlp_shared.0.weight"].shape[0], content_weight=config["weight"])
    net = load_part(net, fixture, {f"only.{n}": w for n, w in weights.items()}, block_names("", "only"))
    read = [layer(s, size) for layer, s in zip((net.style, net.edge, net.pose), conditions)]
    outs = [net(inputs["x"], *given) for given in (conditions, read)]
    return {"out": outs[0] if torch.equal(*outs) else outs[0]*float("nan")}


def style_encoder(fixture, weights, inputs):
    net = load_part(StyleEncoder(weights["model.0.conv1.conv.weight"].shape[0]), fixture, weights, style_names("", ""))
    return {"style": net(inputs["P1"])}


def isnet(fixture, weights, inputs):
    "The whole network, and the same in two halves."
    config = fixture["config"]
    net = load("isnet", fixture, weights, size=(config["fineSize"], config["width"]), aspect=ASPECT,
               halvings=config["G_n_upampling"], content_weight=config["content_weight"],
               batch_statistics=training(fixture))
    out, names = {}, ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")
    def note(name):
        def hook(net, given, made): out[name] = made
        return hook
    for name, block in zip(names, net.isnet.blocks): block.register_forward_hook(note(name))
    net.isnet.encoder.register_forward_hook(note("style")); net.isnet.to_rgb.register_forward_hook(note("pre_tanh"))
    edge, image = net(*(inputs[n] for n in ("P1", "EP1", "BP2", "BEP2")), inputs.get("z"))
    again = net.isnet.paint(net.isnet.read(inputs["P1"]), edge, inputs["BP2"], inputs.get("z"))
    same = torch.allclose(again, image, atol=1e-6)
    return {**out, "fake_EP2": edge, "fake_P2": image if same else image*float("nan")}


def vgg(fixture, weights, inputs):
    config = fixture["config"]
    taps = config["out_keys"]
    net = vgg_conv(weights, taps, config.get("pool", "max"))
    whole = load_official("sca_gan/vgg_conv", weights, taps=taps, pool=config.get("pool", "max"))
    maps, same = net(inputs["x"]), whole(inputs["x"])
    return {tap: m if torch.equal(m, s) else m*float("nan") for tap, m, s in zip(taps, maps, same)}


def cx_loss(fixture, weights, inputs):
    "The constant b cancels in the similarity. A metric has its sigma in its name."
    T, sigma = inputs["featureT"], fixture["config"]["sigma"]
    start = "cx_metric_sigma"
    metrics = {o["name"]: float(o["name"].removeprefix(start)) for o in fixture["outputs"]
               if o["name"].startswith(start)}
    I = 0.25*T.roll(1, -1) + inputs["noise"]
    loss = lambda t, i: contextual_loss(t, i, sigma, eps=OFFICIAL)
    whole, pieces = (contextual_loss(T, I, sigma, eps, piece=piece) for eps, piece in ((OFFICIAL, 10**6), (1e-8, 7)))
    return {"loss": whole if torch.allclose(whole, pieces, rtol=1e-6) else whole*float("nan"),
            "loss_swapped": loss(I, T),
            **{m: contextual_similarity(T, I, sigma, OFFICIAL).mean() for m, sigma in metrics.items()}}


def perceptual_network(weights, layers):
    "VGG-19 up to a layer of torchvision's list, under the official names."
    tap = next(name for name, (i, _) in vgg_layers("vgg19").items() if i == layers)
    features = {n.replace("vgg_submodel", "features"): w for n, w in weights.items()}
    return vgg19(features, normalize=True, taps=(tap,))


def pixels_and_features(config, phi, fake, target):
    "The two terms of L1_plus_perceptualLoss without their weights."
    return F.l1_loss(fake, target), perceptual_loss(phi, fake, target, (1.,), "l1" if config["percep_is_l1"] else "l2")


def l1_perceptual(fixture, weights, inputs):
    config = fixture["config"]
    phi = perceptual_network(weights, config["perceptual_layers"])
    l1, perceptual = pixels_and_features(config, phi, inputs["fake"], inputs["target"])
    l1, perceptual = config["lambda_L1"]*l1, config["lambda_perceptual"]*perceptual
    return {"loss": l1 + perceptual, "l1": l1, "perceptual": perceptual}


@torch.enable_grad()
def losses(fixture, weights, inputs):
    "The terms of a step in either phase, with the discriminators and the loss networks that the fixture has."
    config, out = fixture["config"], {}
    fake, target = inputs["fake"].requires_grad_(), inputs["target"]
    given = {"PB": inputs["BP2"], "PP": inputs["source"]}
    mode = "original" if config.get("no_lsgan") else "ls" # scores before the sigmoid for cross-entropy
    judges = {k: load("discriminator", fixture, own) for k in given
              if (own := part(weights, f"netD_{k}.")) and config.get(f"with_D_{k}", 1)}
    total = 0
    if judges:
        scores = {k: d(fake, given[k]) for k, d in judges.items()}
        gan = {k: generator_loss(s, mode) for k, s in scores.items()}
        out["pair_GANloss"] = config["lambda_GAN"]*sum(gan.values())/len(gan)
        out |= {f"G_GAN_{k}": v for k, v in gan.items()}
        total = total + out["pair_GANloss"]
    if vgg_weights := part(weights, "criterionL1."):
        phi = perceptual_network(vgg_weights, config["perceptual_layers"])
        l1, perceptual = pixels_and_features(config, phi, fake, target)
    else: l1, perceptual = F.l1_loss(fake, target), 0. # L1_type origin
    out |= {"origin_L1": config["lambda_A"]*l1, "perceptual": config["lambda_B"]*perceptual}
    out["pair_L1loss"] = out["origin_L1"] + out["perceptual"]
    total = total + out["pair_L1loss"]
    if (cx := part(weights, "vgg.")) and config.get("use_cxloss", 1):
        features = vgg_conv(cx, config["cx_layers"])
        out["pair_cxloss"] = config["lambda_cx"]*sum(contextual_loss(t, f, config["cx_sigma"]) for t, f in
                                                     zip(features(target), features(fake)))
        total = total + out["pair_cxloss"]
    out["grad_fake"], = torch.autograd.grad(total, fake)
    for k, d in judges.items():
        terms = critic_loss(d(target, given[k]), d(fake.detach(), given[k]), mode)
        out[f"D_{k}"] = 0.5*config["lambda_GAN"]*sum(terms.values())
    return out


def data_pose(fixture, weights, inputs):
    "Heat maps, their peaks, and edges moved as the published program moves them."
    config = fixture["config"]
    poses = [inputs[f"keypoints_{which}_yx"].float() for which in ("source", "target")]
    source, target = (p.masked_fill((p < 0).any(1, keepdim=True), float("nan"))[None] for p in poses)
    maps = heat_maps(source, tuple(config["size"]), float(config["sigma"]))
    edge = inputs["person_edge"].float()[None, None]/127.5 - 1
    move = dict(radius=config["crop_radius"], scale="published", border="published")
    plates, one = (moved_edges(edge, source, target, **move, one_channel=both)[0] for both in (False, True))
    return {"heat_source": maps[0], "peaks_source": joints_of(maps)[0].nan_to_num(-1), "BEP2_raw": (plates + 1)/2,
            "BEP2c1_raw": (one[0] + 1)/2, "BEP2_norm_minmax": torch.stack([plates.min(), plates.max()])}


ADAPTERS = {
    "pctnet": Adapter("ResnetGenerator", pctnet),
    "netD": Adapter("ResnetDiscriminator", discriminator),
    "csdeblk": Adapter("SPADEResnetBlock", csdeblk),
    "style_encoder": Adapter("SPADEStyleEncoder", style_encoder),
    "isnet": Adapter("CSGenerator", isnet),
    "vgg_conv": Adapter("vgg.VGG", vgg),
    "cx_loss": Adapter("CXLoss", cx_loss),
    "l1_perceptual": Adapter("L1_plus_perceptualLoss", l1_perceptual),
    "losses": Adapter("backward_D_*", losses),
    "data_pose": Adapter("crop_shift", data_pose),
}
