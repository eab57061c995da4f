"Weight files of the paper's own code, which keeps the generator under g_ema and calls its layers enc and dec."
from scgan_nb.official.translate import official, shape_of

from .networks import Night


def read_night(weights, given):
    width, channels, *_ = shape_of(weights, "enc.weight")
    return dict(classes=channels - 3, width=width)


@official("lamplight/generator", Night, read_night, within="g_ema", dead=("*.kernel",))
def night_names(net): return {"first": ("enc",), "last": ("dec",)}
