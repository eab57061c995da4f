"""What a system tells the runner about its networks."""
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Adapter:
    "Computes the outputs of a fixture with our network."
    source:str # the official class that the fixture names as its source, without its module
    compute:Callable # (fixture, weights, inputs) -> {output: tensor}; runs without gradients unless it enables them

    def __call__(self, fixture, weights, inputs):
        with torch.no_grad(): return self.compute(fixture, weights, inputs)
