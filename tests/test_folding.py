"A folded system makes the images of the system that it was made from, whatever happens to that one afterwards."
import copy
import hashlib
import pickle
from dataclasses import fields
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from scgan_nb.core.batch import Batch
from scgan_nb.core.folding import folded
from scgan_nb.core.registry import find, known
from scgan_nb.networks.backbones import PUBLIC_STGAN, AttGANGenerator, STGANGenerator
from scgan_nb.networks.layers import SpectralNorm
from scgan_nb.networks.scgan import GeneratorSC2
from scgan_nb.networks.secgan import Parser
from scgan_nb.networks.semantic_composition import SPADEGenerator
from scgan_nb.networks.spatial_conditioning import SpatialCondConv2d
from scgan_nb.networks.stargan import Segmentor, StarGANGenerator
from scgan_nb.trainers.trainer import Trainer

pytestmark = pytest.mark.library
TINY = {"width": 4, "d_width": 4, "s_width": 4, "e_width": 4, "vector_width": 4, "seed_width": 2, "shortcut_width": 4,
        "z_dim": 6, "size": 64, "widest": 4, "lambda_vgg": 0.0, "pct_width": 4, "style_width": 4, "hidden": 4}


def tiny(name, config, **more):
    "A system with a published configuration, tiny, with statistics and singular values that a training would leave."
    cls = find("trainers", name)
    known = {f.name for f in fields(cls.configs.get(config, cls.Hyper))}
    small = {k: v for k, v in TINY.items() if k in known}
    if config and "z_dim" in small and not vars(cls.configs[config]()).get("z_dim", 1): small.pop("z_dim")
    torch.manual_seed(0)
    system = cls.published(config, **small, **more) if config else cls(**small, **more)
    for p in system.parameters(): p.data.add_(0.05*torch.randn_like(p))
    for m in system.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.running_mean.normal_(); m.running_var.uniform_(0.5, 2)
        for _ in range(10):
            if isinstance(m, SpectralNorm): m.power_iteration()
            if isinstance(m, SpatialCondConv2d) and m.spectral: m.sigmas()
    return system


def conditions(system, n=2):
    "Masks in patches, random attributes, latents, persons in two poses."
    torch.manual_seed(1)
    h, w = (system.size,)*2 if isinstance(system.size, int) else system.size
    mask = torch.randint(0, len(system.classes) or 1, (n, h//8, w//8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    mask[:, :2, :2] = 255
    image, poses = torch.rand(n, 3, h, w)*2 - 1, torch.rand(2, n, 18, 2)*torch.tensor([h - 1., w - 1.])
    return Batch(mask=mask, instance=mask, attrs=torch.randint(0, 2, (n, len(system.attr_names))).float(), image=image,
                 z=torch.randn(n, max(system.z_dim, 1)), source_image=image, source_pose=poses[0],
                 target_pose=poses[1])


def painters():
    "All systems that make images, in all configurations; the others answer with the colours of classes."
    for name in known("trainers"):
        cls = find("trainers", name)
        if name not in ("judges", "secgan.parser"): yield from ((name, config) for config in cls.configs or [""])


@cache
def both(name, config):
    system = tiny(name, config).eval()
    return system, system.folded(), conditions(system)


def assert_close(a, b, tolerance=2e-4): # rounding alone, in networks whose norms enlarge it
    assert a.shape == b.shape and (a - b).abs().max() <= tolerance*max(1, b.abs().max()), (a - b).abs().max()


def with_gradients(system, batch):
    "The images by the functions of training, which know neither folding nor another format."
    read, paint = (getattr(type(system), f) for f in ("read", "paint")) # both forbid gradients
    return paint.__wrapped__(system, read.__wrapped__(system, batch))


@pytest.mark.parametrize("name, config", list(painters()))
def test_all_systems_and_configurations(name, config):
    system, quick, batch = both(name, config)
    image = system.sample(batch)
    assert image.std() > 0.01 and image.is_contiguous()
    assert_close(quick.sample(batch), image)
    assert_close(image, with_gradients(system, batch).detach())
    assert_close(quick.sample(batch.take([1])), image[1:])
    assert_close(quick.paint(quick.read(batch)), system.paint(quick.read(batch))) # their states are of one kind
    with torch.inference_mode(): assert_close(quick.sample(batch), image)
    if system.truth in batch and system.reconstructs and system.z_dim:
        assert_close(quick.encode(batch["image"]), system.encode(batch["image"]))


@pytest.mark.parametrize("change", [dict(norm="instance"), dict(position="mask"), dict(position="pyramid"),
                                    dict(act="sigmoid"), dict(num_experts=2, num_norm_experts=4),
                                    dict(spectral_vectors=True), dict(edge=False), dict(classes=5)])
def test_options_of_semantic_composition(change):
    system = tiny("semantic_composition", "scenes", **change).eval()
    batch = conditions(system)
    assert_close(system.folded().sample(batch), system.sample(batch))


def test_networks_alone():
    torch.manual_seed(0)
    x, c, s = torch.randn(2, 3, 64, 64), torch.rand(2, 5), torch.rand(2, 7, 64, 64)
    for net, inputs in [(GeneratorSC2(8, width=4), (torch.randn(2, 8), c, s)), (Segmentor(7, 8), (x,)),
                        (StarGANGenerator(5, 8), (x, c)), (AttGANGenerator(5, 8), (x, c)),
                        (STGANGenerator(5, 8, **PUBLIC_STGAN), (x, c)), (Parser(), (x,)), (SPADEGenerator(7, 8, levels=5), (s,)),
                        (SPADEGenerator(7, 8, levels=5, norm="instance"), (s,))]:
        with torch.no_grad(): net(*inputs) # statistics
        reference = net.eval()(*inputs)
        with torch.no_grad(): assert_close(folded(net)(*inputs), reference)
        assert_close(folded(net)(*inputs), reference) # gradients allowed, another format


def test_16_bits():
    system, quick, batch = both("semantic_composition", "scenes")
    with torch.autocast("cpu", torch.bfloat16): a, b = (s.sample(batch).float() for s in (quick, system))
    assert (a - b).abs().mean() < 0.03 and (b - system.sample(batch)).abs().mean() < 0.05


class Data(torch.utils.data.Dataset):
    def __init__(self, system): self.batch = conditions(system, 4)
    def __len__(self): return 4
    def __getitem__(self, i): return self.batch.take(i)


@pytest.fixture(scope="module", params=["scgan", "semantic_composition"])
def trained(request):
    "A trainer whose system has been folded before the last step."
    config = {"scgan": "faces", "semantic_composition": "scenes"}[request.param]
    system = tiny(request.param, config)
    trainer = Trainer(system, Data(system), batch=4, device="cpu", ema=0.5, sample_every=0, save_every=0, progress=None)
    trainer.fit(1)
    system.eval()
    batch = conditions(system)
    before, quick = system.sample(batch), system.folded()
    assert_close(quick.sample(batch), before)
    names = list(system.state_dict())
    trainer.fit(2)
    assert list(system.state_dict()) == names
    return trainer, quick, before, batch


def truth(system, batch):
    "The images of a new system with the same weights, which has never been asked before."
    fresh = type(system)(**system.hyper)
    fresh.load_state_dict(system.state_dict())
    return fresh.to(system.device, system.dtype).eval().sample(batch)


def changes():
    "What may happen to a system between two images."
    def times(k):
        def f(system):
            for p in system.parameters(): p.data.mul_(k) # hidden from PyTorch's counters
        return f
    def by_storage(system):
        for p in system.generator.parameters(): p.data = p.data.flip(0)
    def by_numpy(system):
        for p in system.generator.parameters(): p.detach().numpy()[:] *= 0.7
    yield "hidden", times(0.8)
    yield "storage", by_storage
    yield "numpy", by_numpy
    yield "loaded", lambda system: system.load_state_dict({k: v*0.9 if v.is_floating_point() else v
                                                           for k, v in system.state_dict().items()})
    yield "inference", torch.inference_mode()(lambda system: [p.mul_(0.9) for p in system.parameters()])


def test_a_step_of_training(trained):
    trainer, quick, before, batch = trained
    system = trainer.system.eval()
    assert_close(system.sample(batch), truth(system, batch), 0)
    assert (system.sample(batch) - before).abs().max() > 1e-3 # the step counts
    assert_close(quick.sample(batch), before) # the copy stays
    assert_close(system.folded().sample(batch), system.sample(batch))


def test_averages_are_swapped_in_and_out(trained):
    trainer, _, _, batch = trained
    system = trainer.system.eval()
    own = system.sample(batch)
    for _ in range(2):
        with trainer.averaged():
            averaged = system.sample(batch)
            assert_close(averaged, truth(system, batch), 0)
            assert_close(system.folded().sample(batch), averaged)
        assert (averaged - own).abs().max() > 1e-4
        assert torch.equal(system.sample(batch), own)
        for net in trainer.averages.shadows.values():
            for p in net.parameters(): p.data.mul_(0.9)


@pytest.mark.parametrize("change", [pytest.param(f, id=name) for name, f in changes()])
def test_no_change_is_missed(trained, change):
    system = copy.deepcopy(trained[0].system).eval()
    batch = trained[3]
    before = system.sample(batch)
    change(system)
    assert_close(system.sample(batch), truth(system, batch), 0)
    assert_close(system.folded().sample(batch), system.sample(batch))
    assert (system.sample(batch) - before).abs().max() > 1e-4


def test_types_copies_and_pickles(trained):
    trainer, _, _, batch = trained
    system, quick = trainer.system.eval(), trainer.system.folded()
    image = quick.sample(batch)
    for same in (copy.deepcopy(quick), pickle.loads(pickle.dumps(quick))):
        assert torch.equal(same.sample(batch), image)
        with pytest.raises(ValueError, match="cannot be trained"): same.train()
    wide = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    assert_close(copy.deepcopy(quick).double().sample(Batch(wide)).float(), image)
    twin = copy.deepcopy(system).double()
    assert_close(twin.sample(Batch(wide)), truth(twin, Batch(wide)), 0)


def test_files_do_not_change(trained, tmp_path):
    system = trained[0].system
    # tensors by name: safetensors writes the notes of a file in any order
    contents = lambda p: ({k: v.tolist() for k, v in sorted(load_file(p).items())} if p.suffix == ".safetensors"
                          else p.read_text())
    digest = lambda folder: {p.relative_to(folder): hashlib.sha256(repr(contents(p)).encode()).hexdigest()
                             for p in sorted(folder.rglob("*")) if p.is_file()}
    first = digest(system.save_pretrained(tmp_path/"a"))
    quick = system.folded(); quick.sample(trained[3]); system.eval().sample(trained[3])
    assert digest(system.save_pretrained(tmp_path/"b")) == first
    with pytest.raises(ValueError, match="cannot be saved"): quick.save_pretrained(tmp_path/"c")
    with pytest.raises(ValueError, match="it is a copy for inference"): Trainer(quick, progress=None, device="cpu")
