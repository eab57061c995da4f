"""Our networks against the papers' own code, and proof that the comparison can fail."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import fill
from tests.parity.runner import GROUP, adapters_of, find, limit_of, main, run, systems, thin

pytestmark = pytest.mark.library
HERE = Path(__file__).parent
SHIPPED = HERE/"parity"/"fixtures"


def cases(folder):
    return [pytest.param(path, fixture, id=f"{fixture['system']}/{fixture['net']}") for path, fixture in find(folder)]


@pytest.mark.parametrize("path, fixture", cases(SHIPPED))
def test_shipped_fixture(path, fixture):
    lines = run(path, fixture)
    assert all(line.ok for line in lines), "\n".join(map(str, lines))


def test_fixtures_of_this_repository_are_found():
    assert {f["net"] for _, f in find(SHIPPED/"scgan")} >= {"generator_small", "discriminator_small", "segmentor_small",
                                                            "train_trajectory"}
    assert {f["net"] for _, f in find(SHIPPED/"semantic_composition")} >= {"scc_train", "scn_train",
                                                                           "sc_resnet_block_train", "losses",
                                                                           "train_step_multiscale", "train_step_fpse"}
    assert {f["net"] for _, f in find(SHIPPED/"sca_gan")} >= {"pctnet", "csdeblk", "style_encoder", "vgg_conv", "cx_loss",
                                                              "l1_perceptual", "losses_is", "losses_pct"}
    assert {f["net"] for _, f in find(SHIPPED/"secgan")} >= {"seg_generator", "attgan_generator_train", "stgan_generator",
                                                             "stargan_discriminator", "attgan_discriminator",
                                                             "stgan_discriminator", "losses"}


@pytest.mark.parametrize("system", systems())
def test_all_fixtures_of(system, shared, capsys):
    folder = shared/"parity"/system
    if not folder.is_dir(): pytest.skip(f"no fixtures at {folder}")
    assert main(folder) == 0, capsys.readouterr().out


def test_adapters_are_found_by_name(tmp_path, monkeypatch):
    assert {"scgan", "semantic_composition"} <= set(systems()) and "runner" not in systems()
    assert adapters_of("fill") is None and adapters_of("__main__") is None
    info = tmp_path/"sixth-1.0.dist-info"
    info.mkdir()
    (info/"METADATA").write_text("Metadata-Version: 2.1\nName: sixth\nVersion: 1.0\n")
    (info/"entry_points.txt").write_text(f"[{GROUP}]\nsixth = sixth_parity\nscgan = sixth_parity\n")
    (tmp_path/"sixth_parity.py").write_text("ADAPTERS = {'net': print}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert adapters_of("sixth") == {"net": print} and "sixth" in systems()
    assert "generator" in adapters_of("scgan") # ours, not the other package's


@pytest.fixture
def copy(tmp_path):
    "A copy of one shipped fixture that a test may spoil: its folder, its .json as a dict and its .npz as a dict."
    for suffix in ("json", "npz"): shutil.copy(SHIPPED/"scgan"/f"discriminator_small.{suffix}", tmp_path)
    fixture = json.loads((tmp_path/"discriminator_small.json").read_text())
    with np.load(tmp_path/"discriminator_small.npz") as f: outputs = dict(f)
    def save():
        (tmp_path/"discriminator_small.json").write_text(json.dumps(fixture))
        np.savez(tmp_path/"discriminator_small.npz", **outputs)
    return tmp_path, fixture, outputs, save


def test_command_passes_and_fails(copy):
    folder, fixture, outputs, save = copy
    command = [sys.executable, "-m", "tests.parity", str(folder)]
    oks = lambda run: sum(line.endswith(" ok") for line in run.stdout.splitlines()[1:])
    good = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    assert good.returncode == 0 and oks(good) == 2, good.stdout + good.stderr
    outputs["cls"][0, 0] += 1e-4
    save()
    bad = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    assert bad.returncode == 1 and "FAIL" in bad.stdout and oks(bad) == 1, bad.stdout + bad.stderr


@pytest.mark.parametrize("change, says", [
    ({"system": "another_gan"}, "no adapter for the system 'another_gan'"),
    ({"net": "transformer", "source": ""}, "no adapter for the network 'transformer'"),
    ({"state_dict": [["main.0.weight", [16, 3, 4, 4]]]}, "no tensor conv2.weight"),
    ({"inputs": [{"name": "x", "seed": 1, "shape": [1, 3, 64, 64], "kind": "strange"}]}, "'strange' are not known"),
])
def test_what_cannot_be_run_fails(copy, capsys, change, says):
    folder, fixture, _, save = copy
    fixture.update(change)
    save()
    assert main(folder) == 1
    out = capsys.readouterr().out
    assert "cannot be run" in out and says in out


def test_unusual_fixtures_fail(copy, capsys):
    folder, fixture, outputs, save = copy
    fixture["inputs"][0]["seed"] += 1 # another picture
    save()
    assert main(folder) == 1
    fixture["inputs"][0]["seed"] -= 1
    outputs["src"][0] = np.nan # nan is not close to anything
    save()
    assert main(folder) == 1
    del outputs["src"] # listed but not recorded
    save()
    assert main(folder) == 1
    (folder/"discriminator_small.npz").unlink()
    assert main(folder) == 1
    (folder/"discriminator_small.json").write_text("{")
    assert main(folder) == 1
    assert main(folder/"empty") == 1


def test_order_and_unknown_keys_do_not_matter(copy):
    folder, fixture, _, save = copy
    fixture["state_dict"].reverse()
    fixture.update(remark="new", weights_version=3)
    save()
    (folder/"index.json").write_text("[]") # not a fixture
    assert main(folder) == 0


def test_limit_uses_the_recorded_rounding_noise(copy):
    folder, fixture, outputs, save = copy
    outputs["src"] = outputs["src"]*(1 + 5e-5)
    save()
    assert main(folder) == 1
    fixture["fp32_vs_fp64_rel"]["src"] = 1e-5 # ten times this is allowed
    save()
    assert main(folder) == 0
    del fixture["fp32_vs_fp64_rel"]
    fixture["outputs"][0]["fp32_vs_fp64_rel"] = 1e-5 # the other place where fixtures record it
    save()
    assert main(folder) == 0


def test_limit_uses_the_tolerance_that_the_note_states():
    recorded = np.array([2.0, -4.0])
    fixture = {"note": "compare step1 with a looser tolerance (1e-3)"}
    assert limit_of(fixture, "step1.fake", recorded) == pytest.approx(4e-3) and limit_of(fixture, "step0.fake",
            recorded) == pytest.approx(4e-5)
    assert limit_of({"note": "another"}, "step1.fake", recorded) == limit_of({}, "step1.fake",
                                                                             recorded) == pytest.approx(4e-5)


def test_semantic_composition_can_fail(tmp_path, capsys):
    for suffix in ("json", "npz"): shutil.copy(SHIPPED/"semantic_composition"/f"scc_train.{suffix}", tmp_path)
    assert main(tmp_path) == 0
    fixture = json.loads((tmp_path/"scc_train.json").read_text())
    (tmp_path/"scc_train.json").write_text(json.dumps(fixture | {"mode": "eval"})) # no power iteration
    assert main(tmp_path) == 1 and "FAIL" in capsys.readouterr().out


def test_thin_finds_strides_and_squeezed_axes():
    x = np.arange(2*5*8).reshape(2, 5, 8)
    assert np.array_equal(thin(x, (2, 2, 2)), x[:, ::4, ::4]) # 5 -> 2 by 4, a power of two
    assert np.array_equal(thin(x, (2, 5, 3)), x[:, :, ::3])
    assert thin(x[:1], (5, 8)).shape == (5, 8) # a batch of 1 that the official code squeezed
    for shape in [(2, 5, 9), (2, 5), (2, 5, 8, 1, 2)]:
        with pytest.raises(ValueError, match="recorded is"): thin(x, shape)


def test_inputs_follow_their_description():
    fixture = {"inputs": [{"name": "r", "seed": 3, "shape": [2, 3, 4, 4], "kind": "normal", "scale": 2.0,
                           "transform": "softmax over axis 1"},
                          {"name": "ids", "seed": 4, "shape": [2, 6], "kind": "integers in [0,7)"},
                          {"name": "v", "values": [[1, 2], [-1, -1]]},
                          {"name": "u", "seed": 5, "shape": [2, 3], "kind": "uniform"}],
               "input_edits": [{"name": "u", "index": [1, 2], "value": 0.0}]}
    x = fill.inputs(fixture)
    rng = np.random.default_rng(3).standard_normal((2, 3, 4, 4)).astype(np.float32)*2
    torch.testing.assert_close(torch.from_numpy(x["r"]), torch.from_numpy(rng).softmax(1))
    assert x["ids"].max() <= 6 and x["ids"].shape == (2, 6) and x["v"].tolist() == [[1, 2], [-1, -1]] and x["u"][1,
            2] == 0 and x["u"][1, 1] != 0


def test_weights_follow_aliases_scales_and_kept():
    fixture = {"state_dict": [["a.weight", [2, 2]], ["b.weight", [2, 2]], ["n.num_batches_tracked", []],
                              ["k.kernel", [3]]], "aliases": {"a.weight": "b.weight"}, "fill_scale": {"b.weight": 4.0},
               "kept": ["k.kernel"]}
    w = fill.weights(fixture)
    assert list(w) == ["a.weight", "b.weight", "n.num_batches_tracked"] and w["n.num_batches_tracked"].dtype == np.int64
    assert np.array_equal(w["a.weight"], w["b.weight"]) and np.array_equal(w["b.weight"],
                                                                           4*fill.fill("b.weight", (2, 2)))
