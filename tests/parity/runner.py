"""Runs fixtures: our networks against numbers that the papers' own code computed."""
import json
import pkgutil
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import torch

from tests.parity import fill

# entry points of other packages: the name is the system, the value a module that holds ADAPTERS
GROUP = "scgan_nb.parity"


def modules():
    "system -> the full name of the module with its adapters: tests.parity.<system>, or another package's by its entry point."
    ours = {m.name: f"{__package__}.{m.name}" for m in pkgutil.iter_modules([str(Path(__file__).parent)])
            if not m.name.startswith("_")}
    return {e.name: e.module for e in entry_points(group=GROUP)} | ours


def adapters_of(system):
    "{name of a network: Adapter} of a system; None if it has none."
    module = modules().get(system)
    return vars(import_module(module)).get("ADAPTERS") if module else None


def systems():
    "The systems that have adapters."
    return sorted(system for system in modules() if adapters_of(system))


@dataclass
class Line:
    "One line of the report."
    net:str
    output:str="-"
    diff:float=float("nan")
    limit:float=float("nan")
    problem:str=""
    precision:str="" # in which ours was computed

    @property
    def ok(self): return not self.problem and self.diff <= self.limit # False for nan

    def __str__(self):
        if self.problem: return f"{self.net:44s} {self.output:16s} cannot be run: {self.problem}"
        verdict = "ok" if self.ok else "FAIL"
        return f"{self.net:44s} {self.output:16s} {self.precision:9s} {self.diff:9.2e}  {self.limit:9.2e}  {verdict}"


def find(folder):
    "The fixture files below a folder: each .json that names a system and a network."
    for path in sorted(Path(folder).rglob("*.json")):
        try: fixture = json.loads(path.read_text())
        except ValueError as e:
            fixture = {"system": path.parent.name, "net": path.stem, "broken": f"{path.name} is not JSON: {e}"}
        if isinstance(fixture, dict) and {"system", "net"} <= fixture.keys(): yield path, fixture


def adapter_for(fixture):
    "The adapter of a fixture: by the official class that made it, else by the longest adapter name that the network's name begins with."
    adapters = adapters_of(fixture["system"])
    if adapters is None: raise LookupError(f"no adapter for the system {fixture['system']!r}")
    source = fixture.get("source", "").split("(")[0].split()
    for adapter in adapters.values():
        if source and adapter.source and f".{source[-1]}".endswith("." + adapter.source): return adapter
    names = [n for n in adapters if fixture["net"].startswith(n)]
    if not names: raise LookupError(f"no adapter for the network {fixture['net']!r} of {fixture['system']}")
    return adapters[max(names, key=len)]


def thin(ours, shape):
    "Our output at the positions that were recorded: every k-th along each axis, with k from the two shapes (a power of two where possible)."
    def fail(): raise ValueError(f"has shape {tuple(ours.shape)}, recorded is {tuple(shape)}")
    if ours.ndim != len(shape):
        ours, shape = ours.squeeze(), [m for m in shape if m != 1] # official code squeezes; a batch of 1 loses its axis
    if ours.ndim != len(shape): fail()
    steps = []
    for n, m in zip(ours.shape, shape):
        fits = [k for k in range(1, n + 1) if -(-n//k) == m]
        if not fits: fail()
        steps.append(slice(None, None, next((k for k in fits if k & (k - 1) == 0), fits[0])))
    return ours[tuple(steps)]


def stated(fixture, name):
    "The tolerance that the note asks for where optimiser steps make rounding grow, 'compare step1 with a looser tolerance (1e-3)': for outputs that begin with this word."
    m = re.search(r"compare (\w+) with a looser tolerance \(([\d.e-]+)\)", fixture.get("note") or "")
    return float(m[2]) if m and name.startswith(m[1]) else 0.0


def limit_of(fixture, name, recorded):
    "The largest difference allowed: 1e-5, or ten times the official code's own rounding noise, or what the fixture's note states for this output, of the largest value."
    about = next((o for o in fixture.get("outputs", []) if o["name"] == name), {})
    noise = (fixture.get("fp32_vs_fp64_rel") or {}).get(name, about.get("fp32_vs_fp64_rel")) or 0.0
    return max(1e-5, 10*noise, stated(fixture, name))*float(np.abs(recorded).max(initial=0.0))


def compare(fixture, name, ours, recorded):
    "The report line of one output."
    line = Line(f"{fixture['system']}/{fixture['net']}", name)
    line.precision = str(torch.as_tensor(ours).dtype).removeprefix("torch.")
    try:
        ours = thin(np.asarray(torch.as_tensor(ours).detach(), np.float64), recorded.shape)
        line.diff = float(np.abs(ours.reshape(recorded.shape) - recorded).max(initial=0.0))
        line.limit = limit_of(fixture, name, recorded)
    except ValueError as e: line.problem = str(e)
    return line


def run(path, fixture):
    "The report lines of one fixture."
    net = f"{fixture['system']}/{fixture['net']}"
    try:
        if "broken" in fixture: raise ValueError(fixture["broken"])
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as f: recorded = dict(f)
        weights = {name: torch.from_numpy(np.asarray(w)) for name, w in fill.weights(fixture).items()}
        inputs = {name: torch.from_numpy(x) for name, x in fill.inputs(fixture).items()}
        outputs = adapter_for(fixture)(fixture, weights, inputs)
    except Exception as e: # whatever it is: this fixture fails, the others go on
        return [Line(net, problem=" ".join(f"{type(e).__name__}: {e}".split()))]
    names = dict.fromkeys([o["name"] for o in fixture.get("outputs", [])] + list(recorded))
    lines = []
    for name in names:
        if name not in recorded:
            lines.append(Line(net, name, problem="listed in the .json but not recorded in the .npz"))
        elif name not in outputs: lines.append(Line(net, name, problem="the adapter does not compute it"))
        else: lines.append(compare(fixture, name, outputs[name], recorded[name]))
    return lines or [Line(net, problem="the fixture has no outputs")]


def main(folder):
    "Run every fixture below `folder`; 0 when all agree, 1 when any differs or cannot be run."
    fixtures = list(find(folder))
    if not fixtures: print(f"no fixtures (.json with 'system' and 'net') below {folder}")
    else: print(f"{'system/net':44s} {'output':16s} precision max|diff|  limit      ok")
    bad = count = 0
    for path, fixture in fixtures:
        for line in run(path, fixture):
            print(line, flush=True)
            bad, count = bad + (not line.ok), count + 1
    print(f"{len(fixtures)} fixtures, {count} outputs: {count - bad} ok, {bad} not")
    return int(bad > 0 or not fixtures)
