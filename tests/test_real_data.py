"Datasets on real files: the CelebAMask-HQ pair and COCO-Stuff pictures of the reference folder, whole and damaged."
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from scgan_nb.core.batch import check_batch
from scgan_nb.core.pixels import instance_edges
from scgan_nb.datasets.base import DataError
from scgan_nb.datasets.views import hflip
from scgan_nb.datasets.celeba import CelebAMaskHQ
from scgan_nb.datasets.folder import FolderDataset
from scgan_nb.datasets.labels import CELEBAMASK19, CELEBAMASK19_TO_LANDMARK7, apply_table
from scgan_nb.datasets.layouts import COCOStuff


@pytest.fixture(scope="module")
def celeba(shared):
    folder = shared/"real"/"celebamask_hq"
    if not folder.is_dir(): pytest.skip(f"no real faces: {folder} does not exist")
    return folder


@pytest.fixture(scope="module")
def coco(shared):
    folder = shared/"real"/"coco_stuff"
    if not folder.is_dir(): pytest.skip(f"no real scenes: {folder} does not exist")
    return folder


@pytest.fixture
def broken(celeba, tmp_path):
    "A copy of the pair, three times over, to be damaged."
    for k in range(3):
        for i in range(2):
            for ending in ("jpg", "png"): shutil.copy(celeba/f"{i}.{ending}", tmp_path/f"{2 * k + i}.{ending}")
    return tmp_path


def test_the_pair_is_sound_and_complete(celeba):
    data = CelebAMaskHQ(celeba, size=128, split="all").check(progress=False)
    assert len(data) == 2 and data.attr_names == []
    batch = check_batch(data.batch([0, 1]), n_classes=19)
    assert batch["image"].shape == (2, 3, 128, 128) and batch["mask"].shape == (2, 128, 128)
    assert "data:image/png" in data._repr_html_()


def test_left_is_the_persons_left(celeba):
    for sample in CelebAMaskHQ(celeba, size=256, split="all"):
        x = {name: (sample["mask"] == CELEBAMASK19.id(name)).nonzero()[:, 1].float().mean()
             for name in ("l_eye", "r_eye", "l_brow", "r_brow")}
        assert x["l_eye"] > 128 > x["r_eye"] and x["l_brow"] > 128 > x["r_brow"]


def test_no_class_appears_that_the_file_does_not_hold(celeba):
    for size in (33, 64, 128, 500):
        for i, sample in enumerate(CelebAMaskHQ(celeba, size=size, split="all")):
            assert set(sample["mask"].unique().tolist()) <= set(
                                                                np.unique(
                                                                          np.asarray(
                    Image.open(celeba/f"{i}.png"))).tolist())


def test_mask_lies_on_the_picture(celeba):
    "Skin is a smooth colour: its spread grows if the mask is moved or mirrored against the picture."
    for sample in CelebAMaskHQ(celeba, size=128, split="all"):
        eye = (sample["mask"] == 4) | (sample["mask"] == 5)
        dark = lambda m: sample["image"].mean(0)[m].mean()
        assert dark(eye) < dark(sample["mask"] == 1) - 0.2 # eyes are darker than the skin around them
        assert dark(eye) < dark(eye.roll(14, 0)) - 0.2 # and what lies 14 pixels below is skin


def test_reduction_and_cache_give_the_same_samples(celeba, tmp_path):
    fine, coarse = (CelebAMaskHQ(celeba, size=96, split="all", labels=name) for name in ("celebamask19", "landmark7"))
    fast = coarse.cached(tmp_path, progress=False)
    for i in range(2):
        assert torch.equal(coarse[i]["mask"], apply_table(fine[i]["mask"], CELEBAMASK19_TO_LANDMARK7))
        assert all(torch.equal(fast[i][k], coarse[i][k]) for k in coarse[i])
    assert coarse[0]["mask"].unique().tolist() == [0, 1, 2, 3, 4, 5] # a shut mouth


def test_background_last_as_the_composition_networks_count(celeba):
    fine, last = (CelebAMaskHQ(celeba, size=96, split="all", labels=name)
                  for name in ("celebamask19", "celebamask19_last"))
    for i in range(2):
        m = fine[i]["mask"]
        assert torch.equal(last[i]["mask"], torch.where(m == 0, 18, m - 1))
        assert torch.equal(last.palette[last[i]["mask"]], fine.palette[m]) # the same picture of the labels
        assert torch.equal(hflip(last[i], last.swaps)["mask"],
                           torch.where(hflip(fine[i], fine.swaps)["mask"] == 0, 18,
                                       hflip(fine[i], fine.swaps)["mask"] - 1))


def test_fast_decoding_does_not_show(celeba):
    "JPEG decoding at a fraction of the size against decoding in full."
    for i, sample in enumerate(CelebAMaskHQ(celeba, size=128, split="all")):
        full = np.asarray(Image.open(celeba/f"{i}.jpg").resize((128, 128), Image.BILINEAR)).transpose(2, 0, 1)
        assert (sample["image"]*127.5 + 127.5 - torch.tensor(full).float()).abs().mean() < 2.5


def test_check_names_every_fault_with_its_file(broken):
    (broken/"0.png").unlink()
    wrong = np.array(Image.open(broken/"1.png")); wrong[:9, :9] = 19
    Image.fromarray(wrong).save(broken/"1.png")
    Image.open(broken/"2.png").crop((0, 0, 512, 400)).save(broken/"2.png")
    data = (broken/"3.jpg").read_bytes(); (broken/"3.jpg").write_bytes(data[:len(data)//2])
    (broken/"4.jpg").unlink()
    with pytest.raises(DataError) as e: CelebAMaskHQ(broken, split="all").check(progress=False)
    found = {f.file.rsplit("/", 1)[-1]: f for f in e.value.faults}
    assert set(found) == {"0.png", "1.png", "2.png", "3.jpg", "4.png"}
    for name, words in {"0.png": "no such file", "1.png": "unknown class id 19 (81 pixels)",
                        "2.png": "512 x 400 pixels, but its image has 1024 x 1024", "3.jpg": "truncated",
                        "4.png": "no image"}.items():
        assert words in found[name].problem and found[name].fix and name in str(e.value)
    with pytest.raises(DataError, match="3.jpg"):
        CelebAMaskHQ(broken, split="all").batch([3, 4]) # nor does reading pass over it


def test_folder_dataset_reads_the_same_files(celeba):
    own = FolderDataset(celeba, celeba, size=64, classes=CELEBAMASK19)
    # pictures and masks in one folder: say so
    assert {f.problem for f in own.faults} == {f"the same name as {i}.jpg" for i in range(2)}
    hq = CelebAMaskHQ(celeba, size=64, split="all")
    assert all(torch.equal(own[i]["mask"], hq[i]["mask"]) for i in range(2))


def test_scenes_as_the_papers_train_on_them(coco):
    data = COCOStuff(coco, 286, instances=True).check(progress=False)
    assert len(data) == 13
    batch = check_batch(data.batch(range(4)), n_classes=183)
    assert batch["image"].shape == (4, 3, 286, 286) and batch["instance"].dtype == torch.int64
    assert (batch["mask"] == 182).any() and not (batch["mask"] == 255).any()
    small = data.augmented(256).batch(range(4))
    assert small["image"].shape[-2:] == small["mask"].shape[-2:] == small["instance"].shape[-2:] == (256, 256)
    wide = COCOStuff(coco, (256, 512))[3]
    assert wide["image"].shape == (3, 256, 512) and wide["mask"].shape == (256, 512)


def test_unlabelled_pixels_may_be_ignored_instead(coco):
    data = COCOStuff(coco, 128, labels="cocostuff182").check(progress=False)
    mask = data.batch(range(13))["mask"]
    assert (mask == 255).any() and set(mask.unique().tolist()) <= {*range(182), 255}
    assert torch.equal(COCOStuff(coco, 128).batch(range(13))["mask"], mask.masked_fill(mask == 255, 182))


def test_names_say_what_is_in_the_pictures(coco):
    "Seen by eye: a cat before a laptop, riders at the sea, a fire engine under clouds, a gull in fog."
    data = COCOStuff(coco, 128)
    seen = {item.name: {data.classes[i] for i in sample["mask"].unique()} for item, sample in zip(data.items, data)}
    for name, there in {"000000017914": {"cat", "laptop", "person", "bed"},
                        "000000138805": {"horse", "person", "sea", "sky-other", "sand"},
                        "000000197384": {"truck", "clouds", "tree", "road", "grass"},
                        "000000203744": {"bird", "sea", "fog"}, "000000580986": {"tennis racket", "person"}}.items():
        assert there <= seen[name], (name, there - seen[name])


def test_instance_edges_lie_where_the_picture_changes(coco):
    "The mean change of brightness at the edges is above that at the same edges mirrored or moved."
    def change(image, edges):
        return ((((image.diff(dim=-1)[..., 1:, :].abs() + image.diff(dim=-2)[..., 1:].abs()).mean(0))*edges[1:,
                1:]).sum()/edges[1:, 1:].sum())
    kept = 0
    for sample in COCOStuff(coco, 192, instances=True):
        edges = instance_edges(sample["instance"][None])[0, 0]
        kept += (change(sample["image"],
                        edges) > max(change(sample["image"], e)
                                     for e in (edges.flip(-1), edges.roll(16, 0), edges.roll(16, 1))))
    assert kept >= 12 # of 13


def test_instances_tell_neighbours_apart(coco):
    "Players of one class have several numbers, and borders between them that the classes lack."
    sample = COCOStuff(coco, 192, instances=True)[[i.name for i in COCOStuff(coco, 192).items].index("000000284465")]
    assert len(sample["instance"][sample["mask"] == 0].unique()) > 5
    assert (instance_edges(sample["instance"][None]) > instance_edges(sample["mask"][None])).sum() > 50


def test_cache_of_scenes_gives_the_same_cuts(coco, tmp_path):
    data = COCOStuff(coco, 72, instances=True)
    fast = data.cached(tmp_path, progress=False)
    for seed in range(3):
        torch.manual_seed(seed); a = data.augmented(64).batch([1, 12])
        torch.manual_seed(seed); b = fast.augmented(64).batch([1, 12])
        assert all(torch.equal(a[k], b[k]) for k in a) and set(a) == {"image", "mask", "instance"}


def test_the_command_trains_both_stages_of_secgan(celeba, tmp_path):
    "Photographs, label maps and a file of attributes in the true format: a parser, then the twins."
    from scgan_nb import cli
    from scgan_nb.trainers.secgan import ATTGAN13, SeCGAN
    root, names, n = tmp_path/"hq", sorted({*ATTGAN13, "Smiling", "Wearing_Hat"}), 6
    root.mkdir()
    for k in range(n):
        for ending in ("jpg", "png"): shutil.copy(celeba/f"{k % 2}.{ending}", root/f"{k}.{ending}")
    signs = torch.randint(2, (n, len(names)), generator=torch.Generator().manual_seed(0))*2 - 1
    rows = [f"{k}.jpg  {'  '.join(f'{v:2}' for v in row)}" for k, row in enumerate(signs.tolist())]
    (root/"CelebAMask-HQ-attribute-anno.txt").write_text("\n".join([str(n), " ".join(names), *rows]) + "\n")
    small = "parser_width=4 seg_width=4 d_width=4 n_blocks=1 d_layers=3 n_critic=1"
    common = dict(data="celebamask-hq", root=str(root), split="all", size=32, device="cpu", batch=2, steps=2, sample=0)
    cli.scgan_train(system="secgan.parser", **common, width=4, out=str(tmp_path/"out"))
    cli.scgan_train(system="secgan.twins", **common, width=4, set=small, out=str(tmp_path/"out"))
    trained = SeCGAN.from_pretrained(tmp_path/"out"/"twins"/"weights")
    data = CelebAMaskHQ(root, size=32, split="all", attrs=trained.attr_names)
    assert trained.attr_names == ATTGAN13
    assert trained.sample(trained.requests(data.batch([0, 1]))[5]).shape == (2, 3, 32, 32)
