"Streets with lamps, by day and by night: pairs of images that are not square, with the mask of the lamps."
import torch

from scgan_nb.core.batch import Batch
from scgan_nb.core.registry import register
from scgan_nb.datasets.labels import LabelSet
from scgan_nb.worlds.drawn import DrawnWorld
from scgan_nb.worlds.render import uniforms

STREET = LabelSet("street", ("sky", "ground", "post", "lamp"),
                  ((120, 180, 240), (90, 80, 70), (40, 40, 40), (255, 210, 0)))
DAY = torch.tensor([[.1, .4, .9], [-.2, -.3, -.4], [-.7, -.7, -.7], [.8, .8, .8]])
NIGHT = torch.tensor([[-.9, -.9, -.6], [-.8, -.8, -.8], [-1., -1., -1.], [1., .9, .2]])


@register("datasets")
class Lamps(DrawnWorld):
    "Streets by day and by night, drawn."
    name, attributes = "lamps", ["Tall", "Wide"]
    judge_names = dict(classifier_name="lamps-cnn", segmentor_name="lamps-segmentor")

    def __init__(self, size=(48, 32), seed=0, n=2000, attrs=None, keys=(), device="cpu"):
        super().__init__(STREET, size, seed, n, attrs, keys, device)

    def draw_params(self, i):
        return {k: v.float() for k, v in uniforms(self.seed, i, ("across", "height", "width")).items()}

    def render(self, params):
        p = {k: v[:, None, None] for k, v in params.items()}
        y, x = ((torch.arange(n, device=self.device) + .5)/n for n in (self.height, self.width))
        y, x, top = y[:, None], x[None, :], .45 - .3*p["height"]
        across = .25 + .5*p["across"]
        lamp = ((x - across)/(.1 + .1*p["width"]))**2 + ((y - top)/.08)**2 < 1
        post = ((x - across).abs() < .05) & (y > top)
        mask = torch.where(lamp, 3, torch.where(post, 2, torch.where(y > .8, 1, 0)))
        attrs = torch.stack([params["height"] > .5, params["width"] > .5], 1).float()
        day, night = (colours.to(mask.device)[mask].movedim(-1, 1) for colours in (DAY, NIGHT))
        return Batch(source_image=day, target_image=night, mask=mask, attrs=self.chosen(attrs))
