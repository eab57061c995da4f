"What the readers of the paper want to see."
from scgan_nb.core.registry import register
from scgan_nb.core.show import colorize, matrix


@register("figures", "lamplight")
def figures(system, batch, data):
    "Streets by day, what stage 1 found, streets by night, and the truth."
    batch = batch.take(slice(0, 4))
    found = colorize(system.read(batch)[1].argmax(1), data.palette)
    rows = list(zip(found, system.sample(batch), batch["target_image"]))
    return dict(nights=matrix(batch["source_image"], rows, ["by day", "lamps", "generated", "real"]))
