"""Metrics of two processes are the metrics of one."""
import pytest, torch

pytest.importorskip("torchmetrics")


def results(part, parts):
    "All metrics of this package, shown every `parts`-th image."
    from scgan_nb.metrics.attributes import AttributeAccuracy
    from scgan_nb.metrics.edits import TARR, EditError
    from scgan_nb.metrics.features import ClassifierExtractor
    from scgan_nb.metrics.fid import FID, InceptionScore
    from scgan_nb.metrics.segmentation import SegmentationScore
    from scgan_nb.metrics.pose import MaskedSSIM, PCKh
    from scgan_nb.metrics.protocols import Protocol
    from scgan_nb.metrics.similarity import CX, SSIM, Diversity
    from scgan_nb.networks.judges import JointDetector, PictureClassifier, PictureSegmentor
    from scgan_nb.worlds.faces import Faces
    torch.manual_seed(0)
    look = ClassifierExtractor(PictureClassifier(["a", "b"], size=16, width=8), "net", kinds=("a", "b"))
    judge = PictureSegmentor(["x", "y", "z"], size=16, width=8).eval()
    finds = JointDetector([str(k) for k in range(18)], size=16, width=8, name="d").eval()
    finds.nowhere.bias.data -= 99 # it finds every joint
    real, fake = torch.rand(40, 3, 16, 16)*2 - 1, torch.rand(40, 3, 16, 16) - 0.5
    attrs, mask, pose = torch.randint(0, 2, (40, 2)), torch.randint(0, 3, (40, 16, 16)), 16*torch.rand(40, 18, 2)
    pose[:3] = float("nan")
    faces = Faces(16, attrs=["Smiling", "Blond_Hair"])
    mine = torch.arange(part, 40, parts)
    metrics = [FID(look), InceptionScore(look), SegmentationScore(judge, ["x", "y", "z"], name="s"),
               AttributeAccuracy(look, ["a", "b"]), SSIM(), Diversity(look), SSIM("official"),
               MaskedSSIM(), MaskedSSIM("limbs"), PCKh(finds), CX(look), Protocol(SSIM("official"), pad=True, jpeg=True),
               Protocol(FID(look), jpeg=95), TARR(look, ["a", "b"]), EditError(faces)]
    shown = dict(reference=real[mine], truth=real[mine], attrs=attrs[mine], mask=mask[mine], pose=pose[mine],
                 image=real[mine], index=mine, source_attrs=attrs[mine].flip(1))
    for m in metrics: m.observe(shown, torch.stack([real[mine], fake[mine]]) if m.drive == "varies" else fake[mine])
    return {k: v for m in metrics for k, v in m.compute().items()}


def worker(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(results(rank, 2), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes(tmp_path):
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=2)
    alone = results(0, 1)
    for rank in range(2):
        shared = torch.load(tmp_path/f"{rank}.pt", weights_only=True)
        assert shared.keys() == alone.keys()
        for k in alone: assert shared[k] == pytest.approx(alone[k], rel=1e-4, abs=1e-6), k
