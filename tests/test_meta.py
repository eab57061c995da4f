"""Whole training steps and all networks on PyTorch's meta device: a tensor that was left on the CPU fails there without a GPU, and so does a step that
reads a value. The one place that reads values on purpose, the check of the losses (`Trainer._collect`), is tested by the trainer's own notebook."""
import importlib
import inspect
import pkgutil

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

import scgan_nb.networks
from scgan_nb.core.batch import Batch
from scgan_nb.core.registry import find, known
from scgan_nb.core.runtime import one_device
from scgan_nb.core.system import System
from scgan_nb.trainers.trainer import Trainer
from tests.blobs import world_of

pytestmark = pytest.mark.library
SIZE = {"scgan": 64, "semantic_composition": 64, "judges": 64}


def cases():
    for name, cls in known("trainers").items():
        if not issubclass(cls, System): continue
        for config in [None, *cls.configs]: yield pytest.param(cls, config, id=f"{name}-{config or 'default'}")


@pytest.mark.parametrize("cls, config", list(cases()))
def test_steps_and_samples(cls, config):
    "At the published width, with data of the configuration's world."
    data = find("datasets", world_of(cls, config))(64)
    with torch.device("meta"):
        known = vars(cls.configs[config]() if config else cls.Hyper())
        system = cls.for_data(data, config, **{k: "scenes-nets" for k in ("features", "cx_features") if k in known})
    trainer = Trainer(system, data, batch=2, device="meta", ema=.9, progress=None)
    rounds = max([u.every + u.start for u in system.updates])
    batch = data.batch([0, 1])
    for _ in range(rounds): terms = trainer.step(batch)
    assert trainer.steps == rounds and all(v.device.type == "meta" for v in terms.values())
    system.eval()
    for request in system.requests(Batch(batch).to("meta")):
        with one_device(): images = system.sample(request)
        assert images.device.type == "meta" and images.shape == (2, 3, 64, 64)


def test_a_tensor_left_behind_is_found():
    data = find("datasets", "faces")(64)
    system = find("trainers", "scgan").for_data(data, width=4, z_dim=4, d_width=4, s_width=4)
    trainer = Trainer(system, data, batch=2, device="meta", progress=None)
    system.generator.to_rgb.to_empty(device="cpu")
    with pytest.raises(RuntimeError, match="mixes tensors on cpu and meta"): trainer.step(data.batch([0, 1]))


def x(*shape): return torch.randn(shape, device="meta", requires_grad=True)
def ids(n, *shape): return torch.zeros(shape, dtype=torch.long, device="meta")


# for each network: how it is built, and what it is given
NETWORKS = {"scgan.Generator": (dict(width=8), lambda n: n(x(2, 512), x(2, 5), x(2, 7, 128, 128))),
            "scgan.GeneratorSC2": (dict(width=8), lambda n: n(x(2, 512), x(2, 5), x(2, 7, 64, 64))),
            "scgan.SpectralDiscriminator": (dict(width=8), lambda n: n(x(2, 3, 64, 64))),
            "stargan.Discriminator": (dict(width=8), lambda n: n(x(2, 3, 128, 128))),
            "stargan.Segmentor": (dict(width=8), lambda n: n(x(2, 3, 64, 64))),
            "stargan.StarGANGenerator": (dict(c_dim=5, width=8), lambda n: n(x(2, 3, 64, 64), x(2, 5))),
            "semantic_composition.Generator": (dict(width=8, size=64, levels=5),
                                               lambda n: n(ids(19, 2, 64, 64), x(2, 256))),
            "semantic_composition.Encoder": (dict(width=8), lambda n: n(x(2, 3, 64, 64))),
            "semantic_composition.MultiscaleDiscriminator": (dict(width=8),
                                                             lambda n: n(x(2, 3, 64, 64), ids(19, 2, 64, 64))),
            "semantic_composition.FPSEDiscriminator": (dict(width=8, smooth=True),
                                                       lambda n: n(x(2, 3, 64, 64), ids(151, 2, 64, 64))),
            "semantic_composition.SPADEGenerator": (dict(width=8), lambda n: n(ids(151, 2, 64, 64))),
            "sca_gan.PCTNet": (dict(width=8), lambda n: n(x(2, 1, 64, 48), x(2, 18, 64, 48), x(2, 18, 64, 48))),
            "sca_gan.ISNet": (dict(width=8, size=(64, 48)),
                              lambda n: n(x(2, 3, 64, 48), x(2, 1, 64, 48), x(2, 18, 64, 48), x(2, 256))),
            "sca_gan.PoseTransfer": (dict(width=8, size=(64, 48), pct_width=8),
                                     lambda n: n(x(2, 3, 64, 48), x(2, 1, 64, 48), x(2, 18, 64, 48), x(2, 18, 64, 48),
                                                 x(2, 256))),
            "sca_gan.Discriminator": (dict(width=8), lambda n: n(x(2, 3, 64, 48), x(2, 18, 64, 48))),
            "backbones.AttGANGenerator": (dict(width=8), lambda n: n.logits(x(2, 3, 64, 64), x(2, 13))),
            "backbones.AttGANDiscriminator": (dict(width=8), lambda n: n(x(2, 3, 128, 128))),
            "backbones.STGANGenerator": (dict(width=8), lambda n: n.logits(x(2, 3, 64, 64), x(2, 13))),
            "backbones.STGANDiscriminator": (dict(width=8), lambda n: n(x(2, 3, 128, 128))),
            "secgan.Parser": (dict(table=[0]*10 + [1]*9), lambda n: n(x(2, 3, 64, 64))),
            "secgan.BlendingGenerator": (dict(width=8), lambda n: n(x(2, 3, 64, 64), x(2, 13))),
            "secgan.PairDiscriminator": (dict(width=8), lambda n: n(x(2, 3, 128, 128), x(2, 13), x(2, 13))),
            "judges.PictureClassifier": (dict(attr_names=["a", "b"]), lambda n: n(x(2, 3, 64, 64))),
            "judges.PictureUNet": (dict(size=64, width=8, out_channels=2, name=""), lambda n: n.decoded(n.maps(x(2, 3, 64, 64)))),
            "judges.PictureSegmentor": (dict(classes=["a", "b"]), lambda n: n(x(2, 3, 64, 64))),
            "judges.JointDetector": (dict(joints=["a", "b"]), lambda n: n(x(2, 3, 64, 64))),}


def networks():
    "Every network that is saved and loaded, wherever it lies."
    for info in pkgutil.iter_modules(scgan_nb.networks.__path__):
        module = importlib.import_module(f"scgan_nb.networks.{info.name}")
        for name, cls in vars(module).items():
            if inspect.isclass(cls) and issubclass(cls, PyTorchModelHubMixin) and cls.__module__ == module.__name__ and "__init__" in vars(cls):
                yield f"{info.name}.{name}"


def flat(y):
    if torch.is_tensor(y): return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in flat(part)] if y is not None else []


@pytest.mark.parametrize("name", list(networks()))
def test_every_network_runs_forward_and_backward(name):
    assert name in NETWORKS, f"{name}: say in NETWORKS how it is built and what it is given"
    config, call = NETWORKS[name]
    module, cls = name.split(".")
    with torch.device("meta"): net = vars(importlib.import_module(f"scgan_nb.networks.{module}"))[cls](**config)
    with one_device(): outs = flat(call(net))
    assert outs and all(t.device.type == "meta" for t in outs)
    sum(t.sum() for t in outs).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad) # it may hold a frozen one
