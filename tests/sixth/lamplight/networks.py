"Three small networks."
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from torch.nn import functional as F


class FindLamps(nn.Module, PyTorchModelHubMixin):
    "Logits of the classes of a street, from its image by day."
    def __init__(self, classes:int=4, width:int=8):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False) # a norm follows, which would undo a bias
        self.norm, self.last = nn.BatchNorm2d(width), nn.Conv2d(width, classes, 1)

    def forward(self, x): return self.last(F.relu(self.norm(self.first(x))))


class Night(nn.Module, PyTorchModelHubMixin):
    "The street by night, from its image by day and the shares of its classes."
    def __init__(self, classes:int=4, width:int=8):
        super().__init__()
        self.first, self.last = nn.Conv2d(3 + classes, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x, s): return self.last(F.relu(self.first(torch.cat([x, s], 1)))).tanh()


class Critic(nn.Module, PyTorchModelHubMixin):
    "A score for patches of a street by night, beside the street by day."
    def __init__(self, width:int=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(.2), nn.Conv2d(width, 1, 4, 2, 1))

    def forward(self, x, y): return self.layers(torch.cat([x, y], 1))
