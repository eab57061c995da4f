"Samples per second of the Faces world: pictures, masks and attributes at 64 px, one and two threads, two processes."
import time

import torch
from torch.utils.data import DataLoader, Dataset

from scgan_nb.worlds.faces import Faces

SIZE, THREADS = 64, 2


def measure(data, batch, repeats):
    "Samples per second: the best and the median of some batches, and per second of processor time."
    rates = []
    data.batch(range(batch))
    used = time.process_time()
    for k in range(repeats):
        start = time.perf_counter()
        data.batch(range(k*batch, (k + 1)*batch))
        rates.append(batch/(time.perf_counter() - start))
    used = time.process_time() - used
    return dict(best=max(rates), median=sorted(rates)[repeats//2], per_cpu_second=repeats*batch/used)


class Drawn(Dataset):
    "Batches of a world, one after the other."
    def __init__(self, data, batch, repeats): self.data, self.batch, self.repeats = data, batch, repeats
    def __len__(self): return self.repeats
    def __getitem__(self, k): return self.data.batch(range(k*self.batch, (k + 1)*self.batch))["image"]


def measure_processes(data, batch, repeats, n):
    "Samples per second that n processes of one thread each hand over, their start included."
    start = time.perf_counter()
    # a worker has one thread
    count = sum(len(x) for x in DataLoader(Drawn(data, batch, repeats), batch_size=None, num_workers=n))
    return count/(time.perf_counter() - start)


def report(world, extras, batch, repeats):
    "Print what a drawn world reaches, without and with its extras."
    threads = torch.get_num_threads()
    try:
        for n in (1, THREADS):
            torch.set_num_threads(n)
            for keys in ((), extras):
                rates = ", ".join(f"{k} {v:,.0f}" for k, v in measure(world(SIZE, keys=keys), batch, repeats).items())
                print(f"{SIZE} px, batch {batch}, {n} thread{'s' * (n > 1)}, extras {keys}: samples/s {rates}")
    finally:
        torch.set_num_threads(threads)
    print(f"{SIZE} px, batch {batch}, {THREADS} processes, extras (): samples/s "
          f"{measure_processes(world(SIZE), batch, 4 * repeats, THREADS):,.0f}")


def main(): report(Faces, ("landmarks", "depth", "normal"), batch=64, repeats=8)


if __name__ == "__main__":
    main()
