"Samples per second of the Scenes world at 64 px: one and two threads, two processes."
from scgan_nb.worlds.scenes import Scenes
from tests.bench.faces import report


def main(): report(Scenes, ("depth",), batch=256, repeats=6)


if __name__ == "__main__":
    main()
