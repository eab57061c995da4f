"""Weights and inputs of the parity fixtures.

A fixture stores neither: a weight is a function of its official name and shape, an input of a seed and a shape. Both sides
compute the same numbers, so that only outputs have to be recorded.
"""
import re
from zlib import crc32

import numpy as np


def fill(name, shape):
    "The array that belongs to the state-dict entry `name`: scaled to keep signals at their size through a layer."
    rng, leaf, shape = np.random.default_rng(crc32(name.encode())), name.rpartition(".")[2], tuple(shape)
    if leaf == "num_batches_tracked": return np.zeros(shape, np.int64)
    if leaf == "running_var": return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if leaf == "running_mean": return (0.1*rng.standard_normal(shape)).astype(np.float32)
    x = rng.standard_normal(shape).astype(np.float32)
    if leaf in ("weight_u", "weight_v"): return x/np.linalg.norm(x) # singular vectors
    if len(shape) < 2: return 0.1*x + (1.0 if leaf == "weight" else 0.0) # scales near 1, biases near 0
    return x/np.float32(np.sqrt(int(np.prod(shape[1:]))))


def weights(fixture):
    "The official state dict {name: array} of a fixture; tensors with two names hold what the name counts that is loaded last."
    aliases, scales, kept = (fixture.get(k) or {} for k in ("aliases", "fill_scale", "kept"))
    out = {}
    for name, shape in fixture["state_dict"]:
        if name in kept: continue # keeps what its constructor put there
        source = aliases.get(name, name)
        out[name], scale = fill(source, shape), scales.get(source, scales.get(name, 1))
        if scale != 1: out[name] = out[name]*np.float32(scale)
    return out


def draw(seed, shape, kind):
    "An input of a known kind."
    rng = np.random.default_rng(seed)
    if kind == "normal": return rng.standard_normal(shape).astype(np.float32)
    if kind == "uniform": return rng.uniform(-1, 1, shape).astype(np.float32)
    if kind == "binary": return rng.integers(0, 2, shape).astype(np.float32)
    if kind == "onehot":
        b, n, h, w = shape
        ids = rng.integers(0, n, (b, h, w))
        return np.moveaxis(np.eye(n, dtype=np.float32)[ids], -1, 1).copy()
    if m := re.fullmatch(r"integers in \[0, ?(\d+)\)", kind): return rng.integers(0, int(m[1]), shape)
    if m := re.match(r"255 \* \(.*\.random\(.*\) < ([\d.]+)\)", kind):
        return (255*(rng.random(tuple(shape)) < float(m[1]))).astype(np.uint8)
    raise ValueError(f"inputs of kind {kind!r} are not known")


def inputs(fixture):
    "The inputs {name: array} of a fixture: drawn or listed, then scaled, transformed and edited as it says."
    out = {}
    for i in fixture["inputs"]:
        x = (np.array(i["values"]) if i.get("values") is not None
             else draw(i["seed"], i["shape"], i.get("kind", "normal")))
        if "scale" in i: x = x*np.float32(i["scale"])
        if t := i.get("transform"):
            if t != "softmax over axis 1": raise ValueError(f"the transform {t!r} of input {i['name']!r} is not known")
            e = np.exp(x - x.max(1, keepdims=True))
            x = e/e.sum(1, keepdims=True)
        out[i["name"]] = x
    for edit in fixture.get("input_edits") or []: out[edit["name"]][tuple(edit["index"])] = edit["value"]
    return out
