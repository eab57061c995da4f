"COCO-Stuff, ADE20K and Cityscapes: numbers, cuts and edges as in the papers' code, caches, workers, resume."
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from scgan_nb.core.pixels import IGNORE, instance_edges, one_hot
from scgan_nb.core.batch import check_batch
from scgan_nb.datasets.base import DataError
from scgan_nb.datasets.layouts import ADE20K, COCOStuff, Cityscapes
from scgan_nb.trainers.trainer import Feed
from tests.blobs import assert_same, make, tensors


def patches(rng, values, height, width):
    "A map of rectangles with values from a list."
    a = np.full((height, width), rng.choice(values))
    for _ in range(12):
        y, x = rng.integers(0, height), rng.integers(0, width)
        a[y:y + rng.integers(3, 30), x:x + rng.integers(3, 30)] = rng.choice(values)
    return a


def save(path, a, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(a.astype(kind)).save(path)


def photo(rng, height, width):
    return rng.integers(0, 256, (height//8 + 1, width//8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    "The three collections, a few small pictures each, every one of another size."
    root = tmp_path_factory.mktemp("layouts")
    for i in range(5):
        rng, (h, w) = np.random.default_rng(i), (70 + 7*i, 90 + 5*i)
        save(root/"coco"/"train_img"/f"{i:012}.png", photo(rng, h, w), np.uint8)
        save(root/"coco"/"train_label"/f"{i:012}.png", patches(rng, [0, 2, 105, 168, 181, 255], h, w), np.uint8)
        save(root/"coco"/"train_inst"/f"{i:012}.png", patches(rng, [0, 1, 2, 60_000, 255], h, w), np.uint16)
        save(root/"ade"/"images"/"training"/f"ADE_train_{i + 1:08}.jpg", photo(rng, h, w), np.uint8)
        save(root/"ade"/"annotations"/"training"/f"ADE_train_{i + 1:08}.png", patches(rng, [0, 1, 2, 149, 150], h, w),
             np.uint8)
        city = f"{'ulm' if i % 2 else 'jena'}"
        name = f"{city}/{city}_{i:06}_000019"
        save(root/"city"/"leftImg8bit"/"train"/f"{name}_leftImg8bit.png", photo(rng, 64, 128), np.uint8)
        numbers = patches(rng, [7, 11, 23, 24000, 26000, 26001, 33017], 64, 128)
        save(root/"city"/"gtFine"/"train"/f"{name}_gtFine_instanceIds.png", numbers, np.uint16)
        save(root/"city"/"gtFine"/"train"/f"{name}_gtFine_labelIds.png",
             np.where(numbers < 1000, numbers, numbers//1000), np.uint8)
        # lies there too, and is not read
        save(root/"city"/"gtFine"/"train"/f"{name}_gtFine_color.png", photo(rng, 64, 128), np.uint8)
    return root


def test_squeeze_cut_and_mirror_are_those_of_the_papers(root):
    "Pillow's bicubic and nearest to 61 x 61, one random window of 48 x 48, half of them mirrored, 255 as channel 182."
    data, turned = COCOStuff(root/"coco", size=61, instances=True).check(progress=False).augmented(48), 0
    for seed in range(12):
        torch.manual_seed(seed); b = data.batch([3])
        torch.manual_seed(seed)
        top, left, flip = int(torch.randint(14, (1,))), int(torch.randint(14, (1,))), bool(torch.rand(1) < .5)
        turned += flip
        for key, folder, how in (("image", "img", Image.BICUBIC), ("mask", "label", Image.NEAREST),
                                 ("instance", "inst", Image.NEAREST)):
            a = np.asarray(Image.open(root/"coco"/f"train_{folder}"/"000000000003.png").resize((61, 61), how))[top:top
                    + 48, left:left + 48].astype(np.int64)
            a = a[:, ::-1] if flip else a
            if key == "image": a = a.transpose(2, 0, 1)/127.5 - 1
            if key == "mask": a = np.where(a == 255, 182, a)
            assert np.abs(b[key][0].numpy() - a).max() < 1e-6, key
    assert 0 < turned < 12


def test_both_numberings_of_ade20k(root):
    "v - 1 in bytes, where 0 becomes 255 and that channel 150; or the numbers as they are."
    for i in range(5):
        v = np.asarray(Image.open(root/"ade"/"annotations"/"training"/f"ADE_train_{i + 1:08}.png").resize((40, 40),
                Image.NEAREST))
        byte = (v - np.uint8(1)).astype(np.int64)
        for labels, expected in (("ade20k151", np.where(byte == 255, 150, byte)), ("ade20k150", byte),
                                 ("ade20k151_raw", v)):
            assert (ADE20K(root/"ade", 40, labels=labels)[i]["mask"].numpy() == expected).all()
    shifted, raw = ADE20K(root/"ade", 40), ADE20K(root/"ade", 40, labels="ade20k151_raw")
    for n in range(1, 151): assert raw.classes[n] == shifted.classes[n - 1]


@pytest.mark.parametrize("name", ["coco", "ade", "city"])
def test_every_pixel_has_one_channel(root, name):
    data = {"coco": COCOStuff, "ade": ADE20K, "city": Cityscapes}[name](root/name, size=32).check(progress=False)
    b = check_batch(data.batch(range(5)), n_classes=len(data.classes))
    planes = one_hot(b["mask"], len(data.classes))
    assert planes.shape[1] == {"coco": 183, "ade": 151, "city": 35}[name] and (planes.sum(1) == 1).all()
    assert tuple(b["image"].shape) == (5, 3, 32,
                                       64 if name == "city" else 32) and len(data.palette) == len(data.classes)


def test_edges_of_cityscapes_by_hand(root):
    "1 where a number differs from one of the four neighbours."
    numbers = Cityscapes(root/"city", size=32)[2]["instance"]
    edges, (h, w) = instance_edges(numbers[None])[0, 0], numbers.shape
    for y in range(h):
        for x in range(w):
            around = [(y + dy, x + dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)) if 0 <= y + dy < h and 0 <= x
                      + dx < w]
            assert edges[y, x] == any(numbers[p] != numbers[y, x] for p in around)
    assert set(numbers.unique().tolist()) <= {7, 11, 23, 24000, 26000, 26001, 33017} and numbers.max() > 24000


@pytest.mark.parametrize("open_data",
                         [lambda r: COCOStuff(r/"coco", 32, instances=True),
                          lambda r: ADE20K(r/"ade", 32, labels="ade20k150"), lambda r: Cityscapes(r/"city", 32)],
                         ids=["coco", "ade", "city"])
def test_cached_samples_are_the_same(root, tmp_path, open_data):
    data = open_data(root)
    fast = data.cached(tmp_path, progress=False)
    a, b = data.batch(range(5)), fast.batch(torch.arange(5))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
    assert (fast.classes, fast.height, fast.width) == (data.classes, data.height, data.width)
    if "instance" in a: assert a["instance"].max() > 24000
    if data.labels.name == "ade20k150": assert (b["mask"] == IGNORE).any()


def test_other_settings_make_another_cache(root):
    prints = [d.fingerprint() for d in (COCOStuff(root/"coco", 32), COCOStuff(root/"coco", 32, instances=True),
                                        COCOStuff(root/"coco", 32, labels="cocostuff182"), COCOStuff(root/"coco", 33),
                                        COCOStuff(root/"coco", 32, fit="crop"), ADE20K(root/"ade", 32),
                                        ADE20K(root/"ade", 32, labels="ade20k151_raw"))]
    assert len(set(prints)) == len(prints)


def test_cuts_are_a_function_of_seed_and_step(root):
    "Whoever loads them, and wherever a run begins again."
    feed = lambda seed=3, rank=0: Feed(COCOStuff(root/"coco", 40, instances=True).augmented(32), 4, seed, rank=rank,
                                       processes=2)
    alone = [feed()[k] for k in range(6)]
    for k, b in enumerate(DataLoader(feed(), batch_size=None, sampler=range(6), num_workers=2,
                                     generator=torch.Generator())):
        assert_same(b, alone[k])
    assert_same(feed()[4], alone[4])
    assert not torch.equal(feed(seed=4)[0]["image"], alone[0]["image"]) and not torch.equal(feed(rank=1)[0]["image"],
            alone[0]["image"])


def test_training_on_cuts_goes_on_after_an_interruption(root, tmp_path):
    data = COCOStuff(root/"coco", 10).cached(tmp_path/"cache", progress=False).augmented(8)
    through, first = make(tmp_path/"a", data=data), make(tmp_path/"b", data=data)
    through.fit(8); first.fit(5)
    again = make(tmp_path/"b", data=data); again.fit(8)
    assert again.steps == 8
    assert_same(tensors(again), tensors(through))


def test_a_missing_instance_map_is_named_by_check_and_by_workers(root, tmp_path):
    import shutil
    shutil.copytree(root/"coco", tmp_path/"coco")
    (tmp_path/"coco"/"train_inst"/"000000000002.png").unlink()
    data = COCOStuff(tmp_path/"coco", 32, instances=True)
    message = r"000000000002.png: no such instance map. Fix: put it there, or open the data with instances=False"
    with pytest.raises(DataError, match=message): data.check(progress=False)
    with pytest.raises(DataError, match=message): data.augmented(24).check(progress=False)
    with pytest.raises(DataError, match=message):
        list(DataLoader(Feed(data.augmented(24), 5, 0), batch_size=None, sampler=range(2), num_workers=1,
                        multiprocessing_context="fork"))
    assert len(COCOStuff(tmp_path/"coco", 32).check(progress=False)) == 5
