"""A program that leaves worker processes in every way: test_workers.py reads what it says."""

import dataclasses
import os
import signal

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset, train_batches
from deepmad_jax.data.corrupt import CorruptData

CONFIG = DataConfig(source="fake", train_augment="none", fake_images=50, workers=1)


class Failing:
    """The images of ``source``, of which number 17 ends the run."""

    def __init__(self, source):
        self._source = source

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if index == 17:
            raise CorruptData("17 ends it")
        return self._source[index]

    def name_of(self, index):
        return self._source.name_of(index)


def main():
    # Whoever started the tests in the background of a shell has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dataset = open_dataset(CONFIG, resolution_px=16, channels=1, classes=2)
    closed = train_batches(dataset, CONFIG, batch_size=10, seed=0)
    kept = next(closed)
    closed.close()
    failing = dataclasses.replace(dataset, train=Failing(dataset.train))
    failed = train_batches(failing, CONFIG, batch_size=10, seed=0)
    try:
        while True:
            next(failed)
    except CorruptData as error:
        print(error)
    print(len(list(eval_batches(dataset, CONFIG, batch_size=4))))
    next(eval_batches(dataset, CONFIG, batch_size=4))  # and gone
    left = train_batches(dataset, CONFIG, batch_size=10, seed=0)
    try:
        next(left)
        os.killpg(0, signal.SIGINT)  # as Ctrl-C does
        signal.pause()
    except KeyboardInterrupt:
        print([next(left)["image"].shape for _ in range(9)][-1])
    return kept, left  # alive until the interpreter goes


if __name__ == "__main__":
    held = main()
