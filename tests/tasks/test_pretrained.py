"""Weights of an earlier run: trained on at another size, looked at at several, from an address."""

import dataclasses
import functools
import http.server
import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax import library
from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.errors import InvalidConfig, MissingData
from deepmad_jax.jobs.training import evaluate, train
from deepmad_jax.tasks.classify.functions import make_sums_fn
from deepmad_jax.tasks.classify.loss import normalise
from deepmad_jax.tasks.classify.task import CLASSIFY
from deepmad_jax.tasks.task import split_network
from deepmad_jax.trained import at_size
from tests.memory_bucket import memory_bucket

STAGES = (Stage("basic", 8, 8, 3, 1, 2), Stage("basic", 16, 8, 3, 1, 2))
ARCH = Architecture("tiny", 16, 1, 10, Stem(8, 3, 1), STAGES)


def config_for(folder, arch, **train):
    """A run on the digits of an architecture that is written down."""
    path = folder / f"{arch.resolution}_{arch.classes}.json"
    path.write_text(arch.to_json())
    settings = {
        "epochs": 10, "batch_size": 64, "learning_rate": 0.2, "warmup_epochs": 0,
        "cooldown_epochs": 0, "dtype": "float32", "batch_norm_momentum": 0.1, "zero_init": False,
        **train,
    }  # fmt: skip
    return Config(
        name="tiny",
        architecture=str(path),
        data=DataConfig(source="digits", train_augment="shift", flip=0.0),
        train=TrainConfig(**settings),
    )


def made(folder):
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of ten epochs at 16 pixels."""
    folder = tmp_path_factory.mktemp("trained")
    config = config_for(folder, ARCH)
    train(config, made(folder / "run"))
    return config, folder / "run"


def last(workdir):
    lines = [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]
    return next(line for line in reversed(lines) if line["split"] == "eval")


def arrays_of(net):
    return {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(net))}


def built(config, arch, fresh=True):
    return arrays_of(CLASSIFY.build(arch, config, None, fresh))


def test_training_begins_with_the_weights_and_statistics_of_the_run(trained, tmp_path):
    _, run = trained
    larger = dataclasses.replace(ARCH, resolution=24)
    config = config_for(tmp_path, larger, pretrained=str(run))
    found, theirs = built(config, larger), arrays_of(library.load(run))
    assert found.keys() == theirs.keys()
    assert all(np.array_equal(found[path], theirs[path]) for path in theirs)
    # Where a checkpoint will take their place, nothing is read.
    fresh = built(config, larger, fresh=False)
    assert not all(np.array_equal(fresh[path], theirs[path]) for path in theirs)


def test_a_classifier_of_other_classes_is_fresh_above_the_same_maps(trained, tmp_path):
    _, run = trained
    fewer = dataclasses.replace(ARCH, classes=7)
    config = config_for(tmp_path, fewer, pretrained=str(run))
    found, theirs = built(config, fewer), arrays_of(library.load(run))
    heads = {path for path in found if path[0] == "head"}
    assert {found[path].shape[-1] for path in heads} == {7}
    assert all(np.array_equal(found[path], theirs[path]) for path in found.keys() - heads)


def test_fine_tuning_at_another_size_is_ahead_of_training_afresh(trained, tmp_path):
    _, run = trained
    larger = dataclasses.replace(ARCH, resolution=24)
    short = {"epochs": 0.5, "learning_rate": 0.02}
    train(config_for(tmp_path, larger, pretrained=str(run), **short), made(tmp_path / "tuned"))
    train(config_for(tmp_path, larger, **short), made(tmp_path / "fresh"))
    tuned, fresh = last(tmp_path / "tuned")["top1"], last(tmp_path / "fresh")["top1"]
    # Eleven steps teach little.
    assert tuned > fresh + 0.3


def test_other_layers_are_refused(trained, tmp_path):
    wider = dataclasses.replace(ARCH, stem=Stem(12, 3, 1))
    config = config_for(tmp_path, wider, pretrained=str(trained[1]))
    with pytest.raises(InvalidConfig, match=r"config\.train\.pretrained .* has other layers"):
        built(config, wider)


def test_positions_learned_at_another_size_are_resized(tmp_path):
    stages = (Stage("attention", 16, 16, 1, 1, 1, heads=2, head_width=8),)
    arch = Architecture("vit", 16, 1, 10, Stem(16, 4, 4, "patch"), stages, positions=True)
    library.export(library.build(arch), tmp_path, ["safetensors"])
    larger = dataclasses.replace(arch, resolution=24)
    # A file's are brought to size as it is read, a run's by the same road.
    from_file = built(
        config_for(tmp_path, larger, pretrained=str(tmp_path / "vit.safetensors")), larger
    )
    net = at_size(library.load(tmp_path / "vit.safetensors"), larger)
    assert all(np.array_equal(from_file[path], value) for path, value in arrays_of(net).items())
    table = next(value for path, value in from_file.items() if path[-1] == "table")
    assert table.shape == (1, 36, 16)
    assert np.asarray(net(jnp.zeros((1, 24, 24, 1)))).shape == (1, 10)


def with_sides(config, *sides_px):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, eval_px=sides_px))


def test_own_size_alone_is_the_ordinary_evaluation(trained, tmp_path):
    config, run = trained
    given = dataclasses.replace(with_sides(config, 16), weights=str(run), architecture=None)
    evaluate(given, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["top1"], found["eval_px"]) == (last(run)["top1"], [16])
    assert found["loss"] == pytest.approx(last(run)["loss"], rel=1e-5)


def test_probabilities_are_averaged_over_sizes(trained):
    config, run = trained
    data = open_dataset(config.data, resolution_px=24, channels=1, classes=10)
    images = np.stack([data.evaluation[i]["image"] for i in range(12)])
    labels = np.stack([data.evaluation[i]["label"] for i in range(12)])
    net = library.load(run)
    graphdef, params, batch_stats = split_network(net)
    batch = {"image": images, "label": labels, "mask": np.ones(12, np.float32)}
    sums = make_sums_fn(graphdef, data, (16, 24))(params, batch_stats, batch)

    large = normalise(jnp.asarray(images), data.mean, data.std)
    small = jax.image.resize(large, (12, 16, 16, 1), "cubic")
    probabilities = np.mean([np.asarray(jax.nn.softmax(net(x))) for x in (small, large)], axis=0)
    assert sums["loss"] == pytest.approx(-np.log(probabilities[range(12), labels]).sum(), rel=1e-4)
    assert sums["top1"] == (probabilities.argmax(-1) == labels).sum()


def test_sizes_are_refused_where_positions_are_learned(tmp_path):
    stages = (Stage("attention", 16, 16, 1, 1, 1, heads=2, head_width=8),)
    arch = Architecture("vit", 16, 1, 10, Stem(16, 4, 4, "patch"), stages, positions=True)
    config = with_sides(config_for(tmp_path, arch), 16, 24)
    with pytest.raises(InvalidConfig, match="eval_px is set, but vit takes images of 16 pixels"):
        CLASSIFY.open(config, arch)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server(tmp_path):
    """A web server on a folder; its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def evaluated(config, weights, workdir):
    workdir.mkdir(exist_ok=True)
    evaluate(dataclasses.replace(config, weights=weights, architecture=None), workdir)
    return json.loads((workdir / "evaluation.json").read_text())


def test_a_file_on_a_web_server_is_evaluated_and_asked_for_once(trained, server, cache, tmp_path):
    config, run = trained
    address, folder = server
    library.export(library.load(run), folder, ["safetensors"])
    found = evaluated(config, f"{address}/tiny.safetensors", tmp_path / "out")
    assert found["top1"] == last(run)["top1"]
    (folder / "tiny.safetensors").unlink()
    assert evaluated(config, f"{address}/tiny.safetensors", tmp_path / "out") == found
    with pytest.raises(MissingData, match="the server says 404"):
        evaluated(config, f"{address}/other.safetensors", tmp_path / "out")


@pytest.fixture
def bucket(monkeypatch):
    with memory_bucket(monkeypatch) as found:
        yield found


def test_a_run_in_a_bucket_is_evaluated_and_trained_on(trained, cache, tmp_path, bucket):
    config, run = trained
    for path in run.rglob("*"):
        if path.is_file():
            bucket.pipe(f"/bucket/run/{path.relative_to(run)}", path.read_bytes())
    found = evaluated(config, "gs://bucket/run", tmp_path / "out")
    assert found["top1"] == last(run)["top1"]
    larger = dataclasses.replace(ARCH, resolution=24)
    tuned = built(config_for(tmp_path, larger, pretrained="gs://bucket/run"), larger)
    theirs = arrays_of(library.load(run))
    assert all(np.array_equal(tuned[path], theirs[path]) for path in theirs)
    with pytest.raises(MissingData, match="There is nothing at gs://bucket/other"):
        evaluated(config, "gs://bucket/other", tmp_path / "out")


def test_fields_of_classifiers_are_refused_to_other_tasks():
    with pytest.raises(InvalidConfig, match="other tasks have a field of that name"):
        Config(task="segment", train=TrainConfig(pretrained="runs/a"))
    with pytest.raises(InvalidConfig, match="only a classifier begins with it"):
        Config(jobs=("perceptron",), train=TrainConfig(pretrained="runs/a"))
    with pytest.raises(InvalidConfig, match="only classifiers are evaluated"):
        Config(task="detect", weights="runs/a")
