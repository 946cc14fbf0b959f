"""The input pipeline beside tf.data and PyTorch's DataLoader: images a second on one core and more.

Makes JPEGs of ImageNet's size (500x375, quality 90; noise over smooth shapes, so that they weigh
what photographs do), stores them as each pipeline wants them (TFDS ArrayRecord, TFRecord, files)
and reads batches of random resized crops at 224 pixels, flipped at random, uint8:

- ours: `train_batches` of a prepared TFDS set; on one core in this process, on more with a worker
  process for each; ours_threads: on more cores with this process's threads
- ours_area: the same with the antialiased resize (``crop_interpolation=area``)
- ours_recipe: the same with RandAugment and colour jitter, as the ImageNet recipe has them
- tf.data: TFRecord, `decode_and_crop_jpeg` (which decodes what it keeps), bilinear resize, threads
- tf.data_sampled: the same with boxes of `sample_distorted_bounding_box`
- torch: `DataLoader` over files with Pillow, bilinear, as torchvision's transforms do

All but tf.data_sampled cut out boxes of one distribution; tf.data is given them ready-made. Its own
draw takes 39 % of the area on average instead of 43 %, which is less to decode and no cheaper way
to do it.

Every run is a process of its own, pinned to its cores; rounds take turns, so that other load on the
machine falls on all alike. Read the ratios of medians. Per CPU second is what a run's processes
used, whoever else was running; per second depends on that.

    python benchmarks/input_pipeline.py --tf-python=python --torch-python=python --out=FILE.json
    python benchmarks/input_pipeline.py --decoders   # only what decoding and resizing cost

TensorFlow is not in our environment: name an interpreter that has it. On two cores of a virtual
machine, both busy with other work (2026-11-25; ``results/input_pipeline_2026-11-25.json`` has the
versions and every round), medians of images per CPU second:

    one core                     two cores
    ours             1226        ours, 2 workers       952
    ours_area         949        ours_threads         1216
    ours_recipe       850
    tf.data          1288        tf.data              1265
    tf.data_sampled  1308
    torch             705        torch, 2 workers      554

So ours is at 0.95 of tf.data on a core, short of the target of 1.1, and at 1.74 of torch. Of the
0.74 ms that an image takes alone, decoding is 0.63 (0.46 to an eighth of the size, which is little
but Huffman decoding), resizing 0.11 and reading 0.03. What is left to save is the columns beside
the crop, which tf.data leaves out after Huffman decoding; simplejpeg, OpenCV, Pillow and
PyTurboJPEG decode whole images, and nvImageCodec needs CUDA to start. libjpeg-turbo's faster DCT
and upsampling gain nothing. Two threads lose nothing; workers lose a
fifth, half of it to page faults in the shared memory that Grain makes anew for every batch. Whether
rates double by the clock on two cores is not seen yet, as neither core was free.
"""

import argparse
import datetime
import io
import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.record import processor

BATCH, RESOLUTION_PX, CLASSES = 64, 224, 10
WIDTH, HEIGHT, QUALITY = 500, 375, 90


def main() -> None:
    args = _arguments()
    if args.run:
        print(json.dumps(_measure(args)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.data or made)
        if args.decoders:
            print(json.dumps(_decoders([jpeg(seed) for seed in range(64)]), indent=1))
            return
        if not (folder / "train").exists():
            _write_files(folder, args.images)
        result = _compare(args, folder)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n")


def _compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    python = {"tf.data": args.tf_python, "tf.data_sampled": args.tf_python}
    python["torch"] = args.torch_python
    runs = [(name, 1) for name in PIPELINES if name != "ours_threads"]
    runs += [(name, cores) for cores in args.cores for name in SCALED]
    runs = [(name, cores) for name, cores in runs if python.get(name, sys.executable)]
    for program in {python.get(name, sys.executable) for name, _ in runs}:
        _start(program, args, folder, "prepare", 1)
    measured: dict[tuple[str, int], list[dict[str, float]]] = {run: [] for run in runs}
    load = []
    for _ in range(args.rounds):
        load.append(round(os.getloadavg()[0], 1))
        for run in runs:
            program = python.get(run[0], sys.executable)
            measured[run].append(_start(program, args, folder, *run))
            print(run, measured[run][-1], file=sys.stderr, flush=True)
    rows = [
        {"pipeline": name, "cores": cores}
        | {
            key: round(statistics.median(m[key] for m in values), 1)
            for key in ("images_per_cpu_second", "images_per_second")
        }
        | {
            f"{key}_of_each_round": [round(m[key], 1) for m in values]
            for key in ("images_per_cpu_second", "images_per_second")
        }
        for (name, cores), values in measured.items()
    ]
    rate = {(row["pipeline"], row["cores"]): row["images_per_cpu_second"] for row in rows}
    ratios = {
        f"{name} / {other}, one core": rate[name, 1] / rate[other, 1]
        for name in ("ours", "ours_area", "ours_recipe")
        for other in ("tf.data", "tf.data_sampled", "torch")
        if (other, 1) in rate
    }
    wall = {(row["pipeline"], row["cores"]): row["images_per_second"] for row in rows}
    for (name, cores), row in zip(measured, rows, strict=True):
        if cores > 1:
            single = name.removesuffix("_threads"), 1
            pair = (row, rows[runs.index(single)])
            best = [max(r["images_per_second_of_each_round"]) for r in pair]
            ratios |= {
                f"{name}, {cores} cores / 1, by the clock": wall[name, cores] / wall[single],
                f"{name}, {cores} cores / 1, best rounds by the clock": best[0] / best[1],
                f"{name}, {cores} cores / 1, per CPU second": rate[name, cores] / rate[single],
            }
    return {
        "date": datetime.date.today().isoformat(),
        "note": args.note,
        "load_average_before_each_round": load,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared; {processor()}",
        "versions": _versions(),
        "images": f"{args.images} JPEGs of {WIDTH}x{HEIGHT}, quality {QUALITY}, "
        f"{_mean_size(folder) / 1e3:.0f} kB each",
        "batch": BATCH,
        "rounds": args.rounds,
        "seconds_of_each_run": args.seconds,
        "ratios of medians": {name: round(value, 3) for name, value in ratios.items()},
        "runs": rows,
    }


def _start(program: str, args: argparse.Namespace, folder: Path, name: str, cores: int) -> Any:
    command = [program, __file__, f"--run={name}", f"--data={folder}", f"--seconds={args.seconds}"]
    available = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        [*command, f"--workers={cores if cores > 1 else 0}"],
        preexec_fn=lambda: os.sched_setaffinity(0, available),
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(args: argparse.Namespace) -> dict[str, float] | None:
    """Images per second, by the clock and by the CPU time of all processes of this run."""
    if args.run == "prepare":
        return _prepare(Path(args.data))
    batches = PIPELINES[args.run](Path(args.data), args.workers)
    for _ in range(4 + 2 * args.workers):  # fills the queues
        next(batches)
    images, began, cpu = 0, time.perf_counter(), _cpu_seconds()
    while time.perf_counter() - began < args.seconds:
        images += len(next(batches))
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    return {"images_per_second": images / seconds, "images_per_cpu_second": images / cpu}


def _cpu_seconds() -> float:
    """Of this process and of its living children."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    own = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[1]) == own:
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


# --- the pipelines: iterators of arrays whose length is the batch's


def _ours(folder: Path, workers: int, **recipe: Any) -> Iterator[Any]:
    from deepmad_jax.config import DataConfig
    from deepmad_jax.data import open_dataset, train_batches

    config = DataConfig(
        source="tfds", name="photographs", data_dir=str(folder / "tfds"), eval_split="train",
        workers=workers, **recipe,
    )  # fmt: skip
    dataset = open_dataset(config, resolution_px=RESOLUTION_PX, channels=3, classes=CLASSES)
    return (b["image"] for b in train_batches(dataset, config, batch_size=BATCH, seed=0))


def _ours_threads(folder: Path, workers: int) -> Iterator[Any]:
    del workers
    return _ours(folder, 0)


def _ours_area(folder: Path, workers: int) -> Iterator[Any]:
    return _ours(folder, workers, crop_interpolation="area")


def _ours_recipe(folder: Path, workers: int) -> Iterator[Any]:
    return _ours(folder, workers, auto_augment="rand-m9-mstd0.5-inc1", color_jitter=0.4)


def _tf_data(folder: Path, workers: int, sampled: bool = False) -> Iterator[Any]:
    import tensorflow as tf

    cores = max(1, workers)
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)

    def load(record: Any, box: Any) -> Any:
        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(record, features)
        if sampled:
            begin, size, _ = tf.image.sample_distorted_bounding_box(
                tf.io.extract_jpeg_shape(example["image"]),
                tf.zeros([1, 0, 4]),
                area_range=(0.08, 1.0),
                aspect_ratio_range=(3 / 4, 4 / 3),
                max_attempts=10,
                use_image_if_no_bounding_boxes=True,
            )
            box = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(example["image"], box, channels=3)
        image = tf.image.resize(image, [RESOLUTION_PX, RESOLUTION_PX], method="bilinear")
        image = tf.image.random_flip_left_right(image)
        return tf.cast(image, tf.uint8), example["label"]

    boxes = [(y, x, h, w) for x, y, w, h in (_random_box(WIDTH, HEIGHT) for _ in range(4096))]
    boxes = tf.data.Dataset.from_tensor_slices(boxes).repeat()
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    records = tf.data.TFRecordDataset(str(folder / "photographs.tfrecord")).repeat()
    records = tf.data.Dataset.zip((records.shuffle(512), boxes))
    batches = records.map(load, num_parallel_calls=cores).batch(BATCH).prefetch(1)
    return (image for image, _ in batches.with_options(options).as_numpy_iterator())


def _tf_data_sampled(folder: Path, workers: int) -> Iterator[Any]:
    return _tf_data(folder, workers, sampled=True)


def _torch(folder: Path, workers: int) -> Iterator[Any]:
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    files = sorted((folder / "train").rglob("*.jpg"))
    loader = DataLoader(_Files(files), batch_size=BATCH, shuffle=True, num_workers=workers)
    while True:
        yield from (images for images, _ in loader)


class _Files:
    """A map-style data set: Pillow decodes, crops, resizes (antialiased) and flips."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return 64 * len(self.files)  # so that epochs, and with them restarts, are long

    def __getitem__(self, index: int) -> Any:
        import torch
        from PIL import Image

        with Image.open(self.files[index % len(self.files)]) as file:
            image = file.convert("RGB")
        x, y, w, h = _random_box(image.width, image.height)
        box = (x, y, x + w, y + h)
        size = (RESOLUTION_PX, RESOLUTION_PX)
        image = image.crop(box).resize(size, Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return pixels.view(*size, 3), index % CLASSES


def _random_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height, drawn as torchvision and we do."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w <= width and h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    return 0, 0, width, height


PIPELINES: dict[str, Callable[[Path, int], Iterator[Any]]] = {
    "ours": _ours,
    "ours_threads": _ours_threads,
    "ours_area": _ours_area,
    "ours_recipe": _ours_recipe,
    "tf.data": _tf_data,
    "tf.data_sampled": _tf_data_sampled,
    "torch": _torch,
}
SCALED = ("ours", "ours_threads", "tf.data", "torch")
"""Also run on several cores."""


# --- the data


def jpeg(seed: int, mean: tuple[float, float, float] = (128.0, 128.0, 128.0)) -> bytes:
    """A file of ImageNet's size and of a photograph's weight, with this mean colour."""
    import cv2
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), mean, np.float32)
    for octave in range(6):
        shape = (4 * 2**octave, 5 * 2**octave, 3)
        shapes = rng.normal(0, 60 / (octave + 1), shape).astype(np.float32)
        image += cv2.resize(shapes, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 9, image.shape)
    buffer = io.BytesIO()
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _write_files(folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / "train" / f"class_{number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))


def _prepare(folder: Path) -> None:
    """The files in the forms that this interpreter's pipelines read, where they are not there."""
    files = sorted((folder / "train").rglob("*.jpg"), key=lambda path: int(path.stem))
    try:
        import tensorflow as tf
    except ImportError:
        tf = None
    target = folder / "photographs.tfrecord"
    if tf is not None and not target.exists():
        with tf.io.TFRecordWriter(str(target)) as writer:
            for path in files:
                image = tf.train.BytesList(value=[path.read_bytes()])
                label = tf.train.Int64List(value=[int(path.stem) % CLASSES])
                feature = {
                    "image": tf.train.Feature(bytes_list=image),
                    "label": tf.train.Feature(int64_list=label),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    if tf is None and not (folder / "tfds").exists():
        import tensorflow_datasets as tfds

        class Photographs(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
                label = tfds.features.ClassLabel(num_classes=CLASSES)
                features = tfds.features.FeaturesDict({"image": image, "label": label})
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager: Any) -> Any:
                del dl_manager
                return {"train": self._generate_examples()}

            def _generate_examples(self) -> Any:
                for path in files:
                    label = int(path.stem) % CLASSES
                    yield path.stem, {"image": io.BytesIO(path.read_bytes()), "label": label}

        Photographs(
            data_dir=str(folder / "tfds"), file_format="array_record"
        ).download_and_prepare()


def _decoders(files: list[bytes]) -> dict[str, float]:
    """Milliseconds of CPU time for each way to decode an image and to resize a part of it."""
    import cv2
    import numpy as np
    import simplejpeg
    from PIL import Image

    cv2.setNumThreads(1)
    part = simplejpeg.decode_jpeg(files[0])[40:340, 60:420]
    size = (RESOLUTION_PX, RESOLUTION_PX)

    def milliseconds(function: Callable[[bytes], Any]) -> float:
        times = []
        for _ in range(5):
            began = time.process_time()
            for data in files:
                function(data)
            times.append(1e3 * (time.process_time() - began) / len(files))
        return round(statistics.median(times), 3)

    def pillow(data: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def opencv(data: bytes) -> Any:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    def resized(kind: int) -> Callable[[bytes], Any]:
        return lambda _: cv2.resize(part, size, interpolation=kind)

    def resized_by_pillow(kind: Image.Resampling) -> Callable[[bytes], Any]:
        return lambda _: np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(size, kind))

    return {
        "decode, simplejpeg": milliseconds(simplejpeg.decode_jpeg),
        "decode, OpenCV": milliseconds(opencv),
        "decode, Pillow": milliseconds(pillow),
        "resize 360x300, OpenCV linear": milliseconds(resized(cv2.INTER_LINEAR)),
        "resize 360x300, OpenCV area": milliseconds(resized(cv2.INTER_AREA)),
        "resize 360x300, Pillow bilinear": milliseconds(
            resized_by_pillow(Image.Resampling.BILINEAR)
        ),
        "resize 360x300, Pillow bicubic": milliseconds(resized_by_pillow(Image.Resampling.BICUBIC)),
    }


def _mean_size(folder: Path) -> float:
    return statistics.mean(path.stat().st_size for path in (folder / "train").rglob("*.jpg"))


def _versions() -> dict[str, str]:
    import importlib.metadata

    names = ("grain", "array_record", "simplejpeg", "opencv-python-headless", "pillow", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run, queues filled")
    parser.add_argument("--cores", type=int, nargs="*", default=[2], help="besides one")
    parser.add_argument("--tf-python", default="", help="an interpreter with TensorFlow")
    parser.add_argument("--torch-python", default="", help="an interpreter with PyTorch and Pillow")
    parser.add_argument("--decoders", action="store_true", help="only decoding and resizing")
    parser.add_argument("--data", help="folder for the data; kept, where it is given")
    parser.add_argument("--out", help="a JSON file for the result")
    parser.add_argument("--note", default="", help="what the result should say besides")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
