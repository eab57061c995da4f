"Samples per second of the Scenes world: pictures, masks, instances and attributes at 64 px, two threads."
import time

import torch

from scgan_nb.datasets.scenes import Scenes

SIZE, BATCH, THREADS, REPEATS = 64, 256, 2, 6


def bench_scenes(size=SIZE, batch=BATCH, repeats=REPEATS, **options):
    "Samples per second: the best and the median of some batches, and per second of processor time."
    data, rates = Scenes(size, **options), []
    data.batch(range(batch))
    used = time.process_time()
    for k in range(repeats):
        start = time.perf_counter()
        data.batch(range(k * batch, (k + 1) * batch))
        rates.append(batch / (time.perf_counter() - start))
    used = time.process_time() - used
    return dict(best=max(rates), median=sorted(rates)[repeats // 2], per_cpu_second=repeats * batch / used)


def main():
    threads = torch.get_num_threads()
    try:
        for n in (1, THREADS):
            torch.set_num_threads(n)
            for options in ({}, dict(keys=("depth",))):
                rates = ", ".join(f"{k} {v:,.0f}" for k, v in bench_scenes(**options).items())
                print(f"{SIZE} px, batch {BATCH}, {n} thread{'s' * (n > 1)}, extras {options.get('keys', ())}: samples/s {rates}")
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
