"Processes that start in a moment: forks of a server that has imported torch and the test files, and has no threads."
import multiprocessing
import os
import socket

import torch

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([
    "tests.children", "tests.test_crash", "tests.test_disk", "tests.test_distributed", "scgan_nb.trainers.judges",
    "scgan_nb.trainers.semantic_composition", "scgan_nb.worlds.scenes", "torch._dynamo"]) # Adam imports the last one


def start(target, *args):
    "A process that runs `target` on one thread."
    child = processes.Process(target=alone, args=(target, args))
    child.start()
    return child


def alone(target, args):
    torch.set_num_threads(1)
    target(*args)


def start_together(target, *args, world=2):
    "Processes of one job, with the environment that torchrun and `accelerate launch` set up."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    return [start(member, rank, world, port, target, args) for rank in range(world)]


def member(rank, world, port, target, args):
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                       MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    target(*args)
    torch.distributed.destroy_process_group()


def finish(*children, code=0):
    for c in children: c.join(120)
    assert [c.exitcode for c in children] == [code]*len(children)
