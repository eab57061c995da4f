"""How the fixtures of semantic_composition are run."""
import torch

from scgan_nb.core.batch import Batch
from scgan_nb.core.pixels import instance_edges, one_hot
from scgan_nb.core.registry import find
from scgan_nb.losses.adversarial import critic_loss, generator_loss
from scgan_nb.losses.latent import kl_divergence
from scgan_nb.losses.perceptual import feature_matching, perceptual_loss
from scgan_nb.networks.vgg import vgg19
from scgan_nb.networks.semantic_composition import SCResnetBlock, SemanticVectorGenerator
from scgan_nb.networks.spade import SPADE
from scgan_nb.networks.spatial_conditioning import IterativeGaussian, SpatialCondConv2d, SpatialCondNorm
from scgan_nb.official.semantic_composition import sc_generator_names
from scgan_nb.official.translate import Official, load_official, spade_names, translate
from scgan_nb.trainers.semantic_composition import SemanticComposition
from scgan_nb.trainers.trainer import Trainer
from tests.parity.adapter import Adapter

GENERATOR = find("official", "semantic_composition/generator")


def positions(config):
    "What weight files do not tell about positions, in our words."
    gaussian = dict(window=config["ig_sz"], sigma=config["ig_sigma"], iterations=config["ig_iter"],
                    relative=config["ig_relative"])
    return dict(position=("pyramid" if config["pyr_pos"] else "mask") if config["position"] else None,
                encoded=config["pyr_rng"] - 1, gaussian=gaussian)


def load(name, fixture, weights, **config):
    "A network with the fixture's weights, in the fixture's mode."
    return load_official(f"semantic_composition/{name}", weights, **config).train(fixture["mode"].startswith("train"))


def load_part(net, fixture, weights, names):
    "A part of a network (an operator, a block), by the same rules as whole networks."
    net.load_state_dict(translate(Official(type(net), None, lambda net: names, leaves=GENERATOR.leaves), net, weights))
    return net.train(fixture["mode"].startswith("train"))


def load_generator(fixture, weights):
    config = fixture["config"]
    size = (round(config["crop_size"]/config["aspect_ratio"]), config["crop_size"])
    return load("generator", fixture, weights, **positions(config), temperature=config["temperature"],
                act=config["weight_type"], **({"size": size} if config["use_vae"] else {}))


def generator(fixture, weights, inputs):
    net, s, z = load_generator(fixture, weights), inputs["seg"], inputs.get("z")
    v = net.vectors(s)
    pre = net.pre_hardtanh(s, v, z)
    whole = load_generator(fixture, weights)(s, z) # a fresh one: a training forward moves the singular vectors
    return {"image": whole.image, "aux_image": whole.aux, "image_pre": pre,
            **{f"routing.{i}": l for i, l in enumerate(whole.logits)}}


def spade_generator(fixture, weights, inputs):
    pre = load("spade_generator", fixture, weights).pre_tanh(inputs["seg"])
    return {"image": load("spade_generator", fixture, weights)(inputs["seg"]), "image_pre": pre}


def vectors(fixture, weights, inputs):
    config = fixture["config"]
    net = SemanticVectorGenerator(config["semantic_nc"], config["nrf"], config["num_experts_conv"],
                                  config["num_experts_norm"], {"normal": 6, "more": 7}[config["num_upsampling_layers"]],
                                  not config["no_spectral_on_routing"], **positions(config))
    at = "pyramid_spaital_routing."
    whole = torch.nn.Module()
    whole.vectors, whole.blocks = net, []
    names = {ours.removeprefix("vectors."): (official[0].removeprefix(at),)
             for ours, official in sc_generator_names(whole).items()}
    pre = []
    load_part(net, fixture, weights, names).to_rgb.register_forward_hook(lambda module, args, out: pre.append(out))
    v = net(inputs["label"])
    return {"im": v.aux, "im_pre": pre[0], **{f"weights.{i}": l for i, l in enumerate(v.conv)},
            **{f"weights_norm.{i}": l for i, l in enumerate(v.norm)}}


def encoder(fixture, weights, inputs):
    return dict(zip(("mu", "logvar"), load("encoder", fixture, weights)(inputs["x"])))


def multiscale(fixture, weights, inputs):
    x, net = inputs["x"], load("discriminator", fixture, weights)
    verdict = net(x[:, -3:], x[:, :-3])
    return {f"{d}.{j}": m for d, maps in enumerate(verdict.features) for j, m in enumerate([*maps, verdict.scores[d]])}


def fpse(fixture, weights, inputs):
    verdict = load("fpse_discriminator", fixture, weights)(inputs["image"], inputs["segmap"])
    return {**{f"feats.{i}": m for i, (m,) in enumerate(verdict.features)},
            **{f"preds.{i}": m for i, m in enumerate(verdict.scores)}}


def block_names(net):
    "Names of the layers of an `SCResnetBlock` on its own."
    names = {"shortcut": ("conv_s",), **spade_names("norm_shortcut", "norm_s")} if net.changes else {}
    for k in (1, 2):
        names |= {f"norm{k}.norm": (f"norm_{k - 1}.param_free_norm",), f"norm{k}": (f"norm_{k - 1}",),
                  f"conv{k}": (f"conv_{k - 1}.conv_bases.*",)}
    return names


def block(fixture, weights, inputs):
    config = fixture["config"]
    net = SCResnetBlock(config["fin"], config["fout"], config["semantic_nc"], config["num_experts_conv"],
                        config["num_experts_norm"])
    return {"out": load_part(net, fixture, weights, block_names(net))(inputs["x"], inputs["routing_conv"],
                                                                      inputs["routing_norm"], inputs["seg"])}


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
    config = {k: config[k] for k in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "num_experts",
                                     "spectral")}
    if not config["spectral"]: weights = {f"{n}_orig": w for n, w in weights.items()}
    outs = [only(SpatialCondConv2d(**config, recompute=recompute), fixture, weights,
                 {"layer": ("only.conv_bases.*",)})(inputs["x"], inputs["routing"]) for recompute in (False, True)]
    return {"out": outs[0] if torch.equal(*outs) else outs[0]*float("nan")}


def scn(fixture, weights, inputs):
    config = fixture["config"]
    norm = "batch" if "batch" in config["config_text"] else "instance"
    names = {"layer.norm": ("only.param_free_norm",)} if norm == "batch" else {}
    return {"out": only(SpatialCondNorm(config["norm_nc"], config["nClass"], norm), fixture, weights,
                        names | {"layer": ("only",)})(inputs["x"], inputs["routing"])}


def spade(fixture, weights, inputs):
    config = fixture["config"]
    return {"out": only(SPADE(config["norm_nc"], config["label_nc"]), fixture, weights,
                        spade_names("layer", "only"))(inputs["x"], inputs["seg"])}


def iterative_gaussian(fixture, weights, inputs):
    config = fixture["config"]
    return {"out": IterativeGaussian(config["win_size"], config["sigma"], config["iters"],
                                     config["relative"])(inputs["x"])}


def losses(fixture, weights, inputs):
    config = fixture["config"]
    maps = lambda which, kind: [inputs[f"{which}.{d}.{kind}"] for d in range(config["num_D"])]
    critic = critic_loss(maps("real", "pred"), maps("fake", "pred"), config["gan_mode"])
    groups = [[[m] for m in maps(which, "feat")] for which in ("fake", "real")]
    return {"GAN": generator_loss(maps("fake", "pred"), config["gan_mode"]), "D_Fake": critic["fake"],
            "D_real": critic["real"], "GAN_Feat": config["lambda_feat"]*feature_matching(*groups),
            "KLD": config["lambda_kld"]*kl_divergence(inputs["mu"], inputs["logvar"])}


def vgg_loss(fixture, weights, inputs):
    phi = vgg19({f"features.{name.partition('.')[2]}": w for name, w in weights.items()})
    return {**{f"x.{i}": m for i, m in enumerate(phi(inputs["x"]))},
            "loss": perceptual_loss(phi, inputs["x"], inputs["y"], fixture["config"]["weights"])}


def preprocess(fixture, weights, inputs):
    config = fixture["config"]
    s = one_hot(inputs["label"][:, 0], config["label_nc"] + config["contain_dontcare_label"])
    return {"semantics": s if config["no_instance"] else torch.cat([s, instance_edges(inputs["instance"][:, 0])], 1)}


@torch.enable_grad()
def train_step(fixture, weights, inputs):
    "Two iterations of the official training loop are two steps of our trainer on our system, in float64."
    config, out = fixture["config"], {}
    part = lambda prefix: {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    slower = 1 if config["no_TTUR"] else 2
    judge = {"multiscale": "discriminator", "fpse": "fpse_discriminator"}[config["netD"]]
    system = SemanticComposition(classes=config["semantic_nc"], size=inputs["image"].shape[-1], z_dim=0, width=4,
                                 vector_width=4, seed_width=4, d_width=4, discriminator=config["netD"],
                                 gan_mode=config["gan_mode"], lambda_feat=config["lambda_feat"], lambda_vgg=0.,
                                 lambda_aux=config["lambda_w_recon"], aux_loss=config["rw_loss"],
                                 lr=(config["lr"]/slower, config["lr"]*slower),
                                 betas=(config["beta1"], config["beta2"]))
    system.generator, system.discriminator = load_generator(fixture, part("netG.")), load(judge, fixture, part("netD."))
    system.double()
    batch = Batch(image=inputs["image"].double(), mask=inputs["label"][:, 0])
    trainer = Trainer(system, batch=batch.n, device="cpu", progress=None)

    def note_norm(name):
        def note(optimiser, args, kwargs):
            grads = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
            out.setdefault(f"grad_norm.{name[0].upper()}", torch.stack([g.norm() for g in grads]).norm())
        return note
    for name, optimiser in trainer.optimisers.items(): optimiser.register_step_pre_hook(note_norm(name))
    fakes = []
    system.generator.register_forward_hook(lambda net, given, painting: fakes.append(painting.image.detach()))

    names = dict(adv="GAN", feat="GAN_Feat", aux=f"W_Recon_{config['rw_loss']}", fake="D_Fake", real="D_real")
    for i in range(2):
        out.update({f"step{i}.{names[term.split('/')[1]]}": value for term, value in trainer.step(batch).items()})
        out[f"step{i}.fake"] = fakes[i]
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
