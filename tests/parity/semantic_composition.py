"""How the fixtures of semantic_composition are run."""
import torch
from torch.nn import functional as F

from scgan_nb.core.batch import instance_edges, one_hot
from scgan_nb.losses.adversarial import critic_loss, generator_loss
from scgan_nb.losses.latent import kl_divergence
from scgan_nb.losses.perceptual import feature_matching, perceptual_loss, vgg19
from scgan_nb.networks.semantic_composition import SCResnetBlock, SemanticVectorGenerator
from scgan_nb.networks.spatial_conditioning import SPADE, IterativeGaussian, SpatialCondConv2d, SpatialCondNorm
from scgan_nb.official import OFFICIAL, Official, load_official, sc_generator_names, spade_names, translate
from tests.parity.adapter import Adapter

GENERATOR = OFFICIAL["semantic_composition/generator"]


def positions(config):
    "What weight files do not tell about positions, in our words."
    gaussian = dict(window=config["ig_sz"], sigma=config["ig_sigma"], iterations=config["ig_iter"], relative=config["ig_relative"])
    return dict(position=("pyramid" if config["pyr_pos"] else "mask") if config["position"] else None, encoded=config["pyr_rng"] - 1, gaussian=gaussian)


def load(name, fixture, weights, **config):
    "A network with the fixture's weights, in the fixture's mode."
    return load_official(f"semantic_composition/{name}", weights, **config).train(fixture["mode"].startswith("train"))


def load_part(net, fixture, weights, names):
    "A part of a network (an operator, a block), by the same rules as whole networks."
    net.load_state_dict(translate(Official(type(net), None, lambda net: names, GENERATOR.leaves), net, weights))
    return net.train(fixture["mode"].startswith("train"))


def load_generator(fixture, weights):
    config = fixture["config"]
    size = (round(config["crop_size"] / config["aspect_ratio"]), config["crop_size"])
    return load("generator", fixture, weights, **positions(config), temperature=config["temperature"], act=config["weight_type"], **({"size": size} if config["use_vae"] else {}))


def generator(fixture, weights, inputs):
    net, s, z = load_generator(fixture, weights), inputs["seg"], inputs.get("z")
    v = net.vectors(s)
    pre = net.pre_hardtanh(s, v, z)
    whole = load_generator(fixture, weights)(s, z)  # a fresh one: a training forward moves the singular vectors
    return {"image": whole.image, "aux_image": whole.aux, "image_pre": pre, **{f"routing.{i}": l for i, l in enumerate(whole.logits)}}


def spade_generator(fixture, weights, inputs):
    pre = load("spade_generator", fixture, weights).pre_tanh(inputs["seg"])
    return {"image": load("spade_generator", fixture, weights)(inputs["seg"]), "image_pre": pre}


def vectors(fixture, weights, inputs):
    config = fixture["config"]
    net = SemanticVectorGenerator(config["semantic_nc"], config["nrf"], config["num_experts_conv"], config["num_experts_norm"],
                                  {"normal": 6, "more": 7}[config["num_upsampling_layers"]], not config["no_spectral_on_routing"], **positions(config))
    at = "pyramid_spaital_routing."
    whole = torch.nn.Module()
    whole.vectors, whole.blocks = net, []
    names = {ours.removeprefix("vectors."): (official[0].removeprefix(at),) for ours, official in sc_generator_names(whole).items()}
    pre = []
    load_part(net, fixture, weights, names).to_rgb.register_forward_hook(lambda module, args, out: pre.append(out))
    v = net(inputs["label"])
    return {"im": v.aux, "im_pre": pre[0], **{f"weights.{i}": l for i, l in enumerate(v.conv)}, **{f"weights_norm.{i}": l for i, l in enumerate(v.norm)}}


def encoder(fixture, weights, inputs): return dict(zip(("mu", "logvar"), load("encoder", fixture, weights)(inputs["x"])))


def multiscale(fixture, weights, inputs):
    x, net = inputs["x"], load("discriminator", fixture, weights)
    verdict = net(x[:, -3:], x[:, :-3])
    return {f"{d}.{j}": m for d, maps in enumerate(verdict.features) for j, m in enumerate([*maps, verdict.scores[d]])}


def fpse(fixture, weights, inputs):
    verdict = load("fpse_discriminator", fixture, weights)(inputs["image"], inputs["segmap"])
    return {**{f"feats.{i}": m for i, (m,) in enumerate(verdict.features)}, **{f"preds.{i}": m for i, m in enumerate(verdict.scores)}}


def block_names(net):
    "Names of the layers of an `SCResnetBlock` on its own."
    names = {"shortcut": ("conv_s",), **spade_names("norm_shortcut", "norm_s")} if net.changes else {}
    for k in (1, 2): names |= {f"norm{k}.norm": (f"norm_{k - 1}.param_free_norm",), f"norm{k}": (f"norm_{k - 1}",), f"conv{k}": (f"conv_{k - 1}.conv_bases.*",)}
    return names


def block(fixture, weights, inputs):
    config = fixture["config"]
    net = SCResnetBlock(config["fin"], config["fout"], config["semantic_nc"], config["num_experts_conv"], config["num_experts_norm"])
    return {"out": load_part(net, fixture, weights, block_names(net))(inputs["x"], inputs["routing_conv"], inputs["routing_norm"], inputs["seg"])}


class Only(torch.nn.Module):
    "Gives a layer on its own a name, so that tables of names apply."
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *args): return self.layer(*args)


def only(layer, fixture, weights, names):
    "A layer on its own, loaded; `names` as for a network in which it is called `layer`."
    return load_part(Only(layer), fixture, {f"only.{n}": w for n, w in weights.items()}, names)


def scc(fixture, weights, inputs):
    "In both ways to keep memory."
    config = dict(fixture["config"])
    config = {k: config[k] for k in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "num_experts", "spectral")}
    if not config["spectral"]: weights = {f"{n}_orig": w for n, w in weights.items()}
    outs = [only(SpatialCondConv2d(**config, recompute=recompute), fixture, weights, {"layer": ("only.conv_bases.*",)})(inputs["x"], inputs["routing"]) for recompute in (False, True)]
    return {"out": outs[0] if torch.equal(*outs) else outs[0] * float("nan")}


def scn(fixture, weights, inputs):
    config = fixture["config"]
    norm = "batch" if "batch" in config["config_text"] else "instance"
    names = {"layer.norm": ("only.param_free_norm",)} if norm == "batch" else {}
    return {"out": only(SpatialCondNorm(config["norm_nc"], config["nClass"], norm), fixture, weights, names | {"layer": ("only",)})(inputs["x"], inputs["routing"])}


def spade(fixture, weights, inputs):
    config = fixture["config"]
    return {"out": only(SPADE(config["norm_nc"], config["label_nc"]), fixture, weights, spade_names("layer", "only"))(inputs["x"], inputs["seg"])}


def iterative_gaussian(fixture, weights, inputs):
    config = fixture["config"]
    return {"out": IterativeGaussian(config["win_size"], config["sigma"], config["iters"], config["relative"])(inputs["x"])}


def losses(fixture, weights, inputs):
    config = fixture["config"]
    maps = lambda which, kind: [inputs[f"{which}.{d}.{kind}"] for d in range(config["num_D"])]
    critic = critic_loss(maps("real", "pred"), maps("fake", "pred"), config["gan_mode"])
    groups = [[[m] for m in maps(which, "feat")] for which in ("fake", "real")]
    return {"GAN": generator_loss(maps("fake", "pred"), config["gan_mode"]), "D_Fake": critic["fake"], "D_real": critic["real"],
            "GAN_Feat": config["lambda_feat"] * feature_matching(*groups), "KLD": config["lambda_kld"] * kl_divergence(inputs["mu"], inputs["logvar"])}


def vgg_loss(fixture, weights, inputs):
    phi = vgg19({f"features.{name.partition('.')[2]}": w for name, w in weights.items()})
    return {**{f"x.{i}": m for i, m in enumerate(phi(inputs["x"]))}, "loss": perceptual_loss(phi, inputs["x"], inputs["y"], fixture["config"]["weights"])}


def preprocess(fixture, weights, inputs):
    config = fixture["config"]
    s = one_hot(inputs["label"][:, 0], config["label_nc"] + config["contain_dontcare_label"])
    return {"semantics": s if config["no_instance"] else torch.cat([s, instance_edges(inputs["instance"][:, 0])], 1)}


@torch.enable_grad()
def train_step(fixture, weights, inputs):
    "Two iterations of the official training loop: generator, then discriminator on a fresh picture of the moved generator."
    config, out = fixture["config"], {}
    part = lambda prefix: {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    G, D = load_generator(fixture, part("netG.")), load({"multiscale": "discriminator", "fpse": "fpse_discriminator"}[config["netD"]], fixture, part("netD."))
    slower = 1 if config["no_TTUR"] else 2
    adam = {net: torch.optim.Adam(net.parameters(), lr, (config["beta1"], config["beta2"])) for net, lr in [(G, config["lr"] / slower), (D, config["lr"] * slower)]}
    s, real = one_hot(inputs["label"][:, 0], config["semantic_nc"]), inputs["image"]

    def step(net, terms, i):
        adam[net].zero_grad(); sum(terms.values()).backward()
        if i == 0: out[f"grad_norm.{'G' if net is G else 'D'}"] = torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None]).norm()
        adam[net].step()
        out.update({f"step{i}.{name}": value.detach() for name, value in terms.items()})

    def judge(fake):
        "Painted and real in one batch, as the official code does: one power iteration for both."
        return D(torch.cat([fake, real]), torch.cat([s, s])).halves()

    for i in range(2):
        painting = G(s)
        of_fake, of_real = judge(painting.image)
        out[f"step{i}.fake"] = painting.image.detach()
        step(G, {"GAN_Feat": config["lambda_feat"] * feature_matching(of_fake.features, of_real.features), "GAN": generator_loss(of_fake.scores, config["gan_mode"]),
                 "W_Recon_l1": config["lambda_w_recon"] * F.l1_loss(painting.aux, real)}, i)
        with torch.no_grad(): fake = G(s).image
        of_fake, of_real = judge(fake)
        terms = critic_loss(of_real.scores, of_fake.scores, config["gan_mode"])
        step(D, {"D_Fake": terms["fake"], "D_real": terms["real"]}, i)
    return out


ADAPTERS = {
    "generator": Adapter("SCGGenerator", generator),
    "spade_generator": Adapter("SPADEGenerator", spade_generator),
    "svg": Adapter("SemanticVectorGenerator", vectors),
    "encoder": Adapter("ConvEncoder", encoder),
    "multiscale_discriminator": Adapter("MultiscaleDiscriminator", multiscale),
    "fpse_discriminator": Adapter("FPSEDiscriminator", fpse),
    "sc_resnet_block": Adapter("SCResnetBlock", block),
    "scc": Adapter("SpatialCondConv2d", scc),
    "scn": Adapter("SpatialCondNorm", scn),
    "spade": Adapter("SPADE", spade),
    "iterative_gaussian": Adapter("IterativeGaussian", iterative_gaussian),
    "losses": Adapter("GANLoss", losses),
    "vgg_loss": Adapter("VGG19", vgg_loss),
    "preprocess": Adapter("Pix2PixModel.preprocess_input", preprocess),
    "train_step": Adapter("Pix2PixModel", train_step),
}
