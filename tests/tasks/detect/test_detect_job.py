import contextlib
import dataclasses
import io
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, DetectConfig, TrainConfig
from deepmad_jax.data.boxed import train_batches
from deepmad_jax.data.coco import open_coco
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.errors import InvalidConfig, MissingData, UserError
from deepmad_jax.nets import Network
from deepmad_jax.tasks import run
from deepmad_jax.tasks.detect import evaluation
from deepmad_jax.tasks.detect.functions import make_loss_fn
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import Checkpoints, create_state, make_mesh, to_device
from deepmad_jax.train.gradients import make_gradient_fn

STAGES = tuple(Stage("basic", 8, 8, 3, 1, 2) for _ in range(4))
ARCH = Architecture("tiny", 64, 3, 10, Stem(8, 3, 2), STAGES)
HEADS = ("fcos", "gfl", "mask_rcnn")  # the cascade: test_detect_step.py
# Each compiles a training step: a minute on a busy core.
HEADS_MOSTLY_SLOW = [
    "mask_rcnn",
    pytest.param("fcos", marks=pytest.mark.slow),
    pytest.param("gfl", marks=pytest.mark.slow),
]
CONFIG = Config(
    name="tiny",
    task="detect",
    data=DataConfig(train_split="train", eval_split="val"),
    train=TrainConfig(
        epochs=4,
        batch_size=4,
        eval_batch_size=4,
        learning_rate=0.02,
        warmup_epochs=0,
        cooldown_epochs=0,
        clip_norm=35.0,
        zero_init=False,  # or nothing but the shortcuts would learn at first
        dtype="float32",
        ema_decay=0.9,
        log_every_steps=2,
        eval_every_epochs=2,
        checkpoint_every_epochs=1,
    ),
    detect=DetectConfig(
        width=8,
        depth=1,
        groups=2,
        hidden=16,
        candidates=20,
        eval_candidates=20,
        proposals=12,
        eval_proposals=12,
        anchor_samples=16,
        proposal_samples=16,
        frozen_stages=0,
        batch_norm="trained",
        short_sides=(48, 64),
        eval_short_side=64,
        long_side=96,
        most_boxes=4,
        mask_px=28,
        warmup_steps=2,
        drop_epochs=(3.0,),
    ),
)


def config_of(root, head="fcos", **fields):
    return dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, data_dir=str(root)),
        detect=dataclasses.replace(CONFIG.detect, head=head, **fields),
    )


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def loss_and_gradients(root, head, mesh):
    """Of the first batch."""
    config = config_of(root, head)
    data = DETECT.open(config, ARCH)
    net = DETECT.build(ARCH, config, data, True)
    graphdef, params, stats = split_network(net)
    function = jax.jit(make_gradient_fn(make_loss_fn(graphdef), mesh))
    batches = data.train_batches(config)
    batch = next(batches)
    batches.close()
    return function(params, stats, to_device(mesh, batch), jax.random.key(0))


def test_training_leaves_the_files_of_a_run(trained):
    lines = lines_of(trained.workdir)
    fields = {"split", "step", "loss", "loss_class", "loss_box", "loss_centre", "learning_rate"}
    assert all(line.keys() >= fields for line in lines if line["split"] == "train")
    evaluations = [line for line in lines if line["split"] == "eval"]
    assert [line["step"] for line in evaluations] == [7, 14]
    assert all(line["images"] == 7 and "box_ap" in line for line in evaluations)
    predictions = trained.workdir / "predictions"
    for box in json.loads((predictions / "boxes.json").read_text()):
        assert box.keys() == {"image_id", "category_id", "bbox", "score"}
    table = (predictions / "classes.txt").read_text()
    assert [line.split()[0] for line in table.splitlines()] == [
        "class", "disc", "rectangle", "triangle",
    ]  # fmt: skip


def test_stopped_training_goes_on_to_the_same_bits(root, trained, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "over_batches", stop)
        with pytest.raises(Stopped):
            run.train(DETECT, config_of(root), ARCH, tmp_path)
    assert (tmp_path / "checkpoints" / "4").exists()
    resumed = run.train(DETECT, config_of(root), ARCH, tmp_path)
    for ours, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(trained.state), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_evaluation_of_a_checkpoint_is_trainings_own(root, trained):
    result = run.evaluate(DETECT, config_of(root), ARCH, trained.workdir)
    last = [line for line in lines_of(trained.workdir) if line["split"] == "eval"][-1]
    assert result.items() <= last.items()


@pytest.mark.parametrize("head", HEADS_MOSTLY_SLOW)
def test_losses_and_gradients_are_finite_and_every_part_learns(root, head):
    (loss, (_, metrics)), grads = loss_and_gradients(root, head, make_mesh(jax.devices()[:1]))
    assert np.isfinite(loss)
    assert float(loss) == pytest.approx(sum(map(float, metrics.values())), rel=1e-5)
    flat = jax.tree_util.tree_flatten_with_path(grads)[0]
    norms = {jax.tree_util.keystr(path, simple=True): float(abs(g).max()) for path, g in flat}
    assert all(np.isfinite(value) for value in norms.values())
    # What answers for objects larger than there are here learns nothing of them.
    still = {name for name, value in norms.items() if value == 0}
    assert not {name for name in still if "backbone" in name or "head" in name} - {
        name for name in still if "factors" in name
    }
    masks = sum("loss" in name and "mask" in name for name in metrics)
    assert masks == (head == "mask_rcnn")


def test_the_canvas_hardly_changes_a_loss(root):
    config = config_of(root, batch_norm="fixed")
    data = DETECT.open(config, ARCH)
    graphdef, params, stats = split_network(DETECT.build(ARCH, config, data, True))
    loss_fn = jax.jit(make_loss_fn(graphdef))
    found = []
    for long_side in (96, 160):
        detect = dataclasses.replace(config.detect, long_side=long_side)
        stream = train_batches(data.dataset, config.data, detect, batch_size=4, seed=0)
        batch = {name: jnp.asarray(value) for name, value in next(stream).items()}
        stream.close()
        found.append((batch["image"].shape, loss_fn(params, stats, batch, jax.random.key(0))[0]))
    (small, ours), (large, other) = found
    assert small[2] < large[2]
    # The backbone's convs see, past an edge, what they made of it themselves rather than zeros;
    # GroupNorm over the canvas would move the loss by some hundredths.
    np.testing.assert_allclose(ours, other, rtol=1e-3)


@pytest.mark.parametrize(
    ("mode", "trains"), [("fixed", False), pytest.param("affine", True, marks=pytest.mark.slow)]
)
def test_fixed_statistics_stay_and_frozen_stages_do_not_train(root, mode, trains):
    config = config_of(root, batch_norm=mode, frozen_stages=1)
    net = DETECT.build(ARCH, config, DETECT.open(config, ARCH), True)
    _, params, stats = split_network(net)
    paths = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    backbone = [path.split("net.")[1] for path in paths if path.startswith("backbone")]
    # Strides 2 (stem) and 4 (first stage) are frozen.
    assert {path.split(".")[0] for path in backbone} == {"stages"}
    assert {path.split(".")[1] for path in backbone} == {"1", "2", "3"}
    assert any("norm" in path for path in backbone) == trains
    (_, (moved, _)), _ = loss_and_gradients_of(root, config)
    for before, after in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(before, after)


def loss_and_gradients_of(root, config):
    data = DETECT.open(config, ARCH)
    graphdef, params, stats = split_network(DETECT.build(ARCH, config, data, True))
    batches = data.train_batches(config)
    batch = {name: jnp.asarray(value) for name, value in next(batches).items()}
    batches.close()
    function = jax.value_and_grad(make_loss_fn(graphdef), has_aux=True)
    return jax.jit(function)(params, stats, batch, jax.random.key(0))


def test_pretrained_weights_of_a_run_and_of_files_are_the_backbones(root, tmp_path):
    from flax import nnx

    from deepmad_jax import library

    other = dataclasses.replace(ARCH, classes=7, name="other")
    net = Network(other, rngs=nnx.Rngs(5))
    library.export(net, tmp_path, ["safetensors", "npz", "pytorch"])
    wanted = np.asarray(net.stages[1].first.layers["main1_conv"].kernel[...])
    # As a run of the train job leaves its folder.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "architecture.json").write_text(other.to_json())
    _, params, stats = split_network(net)
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        state = create_state(params, stats, optax.identity(), ema=False)
        checkpoints.save(state, SimpleNamespace(get_state=lambda: b"{}"), step=3)
    for name in ("other.safetensors", "other.npz", "other.pth.tar", "run"):
        config = config_of(root, pretrained=str(tmp_path / name))
        arch = dataclasses.replace(ARCH, classes=7)
        found = DETECT.build(arch, config, DETECT.open(config, ARCH), True).backbone.net
        np.testing.assert_array_equal(found.stages[1].first.layers["main1_conv"].kernel, wanted)
        unread = dataclasses.replace(config.detect, pretrained="gone.npz")
        DETECT.build(
            arch, dataclasses.replace(config, detect=unread), DETECT.open(config, ARCH), False
        )


def test_weights_of_other_layers_are_refused(root, tmp_path):
    from flax import nnx

    from deepmad_jax import library

    wider = dataclasses.replace(ARCH, stages=(*STAGES[:3], Stage("basic", 16, 8, 3, 1, 2)))
    library.export(Network(wider, rngs=nnx.Rngs(5)), tmp_path, ["npz"])
    config = config_of(root, pretrained=str(tmp_path / "tiny.npz"))
    with pytest.raises(UserError):
        DETECT.build(ARCH, config, DETECT.open(config, ARCH), True)


def test_a_network_without_the_strides_is_refused(root):
    short = dataclasses.replace(ARCH, stages=STAGES[:2])
    config = config_of(root)
    with pytest.raises(InvalidConfig, match="strides 8, 16, 32"):
        DETECT.build(short, config, DETECT.open(config, short), True)


def test_results_are_in_the_images_own_pixels_and_ids(root, trained):
    # What is found on a canvas of twice the size is half as large.
    index = read_index(open_coco(config_of(root).data).evaluation.annotations)
    found = {
        "boxes": np.array([[[8.0, 6, 40, 30]]]),
        "scores": np.array([[0.5]]),
        "labels": np.array([[2]]),
        "valid": np.array([[True]]),
        "index": np.array([3]),
        "mask": np.array([1.0]),
        "masks": np.ones((1, 1, 28, 28), np.float32),
    }
    (result,) = evaluation.results_of(found, index)
    segmentation = result.pop("segmentation")
    assert result == {"image_id": 20, "category_id": 20, "bbox": [8, 6, 32, 24], "score": 0.5}
    from pycocotools import mask

    pixels = mask.decode(segmentation)
    assert pixels.shape == tuple(index.sizes[3])
    assert pixels[6:30, 8:40].all()
    assert pixels.sum() == 32 * 24
    found["mask"][:] = 0
    assert evaluation.results_of(found, index) == []


def test_written_predictions_give_the_same_numbers_to_pycocotools(root, trained):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    config = config_of(root)
    path = open_coco(config.data).evaluation.annotations
    results = json.loads((trained.workdir / "predictions" / "boxes.json").read_text())
    if not results:
        pytest.skip("so few steps found nothing")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        judged = COCOeval(truth, truth.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    last = [line for line in lines_of(trained.workdir) if line["split"] == "eval"][-1]
    assert last["box_ap"] == pytest.approx(judged.stats[0])


def test_detect_command_draws_what_the_evaluation_finds(root, trained, monkeypatch, capsys):
    from PIL import Image

    from deepmad_jax.cli import main
    from deepmad_jax.jobs.workdir import settle

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(trained.workdir / "cache"))
    settle(config_of(root), trained.workdir, ARCH)
    source = open_coco(config_of(root).data).evaluation
    files = [str(root / "val" / read_index(source.annotations).files[i]) for i in (0, 1)]
    arguments = ["detect", *files, "--workdir", str(trained.workdir), "--score", "0"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    results = json.loads((trained.workdir / "predictions" / "boxes.json").read_text())
    ids = read_index(source.annotations).ids
    for i, file in enumerate(files):
        path = trained.workdir / "detected" / f"{i:06}.png"
        with Image.open(path) as drawn, Image.open(file) as given:
            assert drawn.size == given.size
        found = [r for r in results if r["image_id"] == ids[i]]
        assert f"{len(found)} found" in printed
    assert main(["detect", "gone.jpg", "--workdir", str(trained.workdir)]) == 2
    assert "There is no image gone.jpg" in capsys.readouterr().err
    assert main(["detect", "--workdir", str(trained.workdir)]) == 2


def test_export_job_writes_the_checkpoints_detector(root, trained, tmp_path, capsys):
    from deepmad_jax.jobs.export import export

    onnxruntime = pytest.importorskip("onnxruntime")

    (tmp_path / "architecture.json").write_text(ARCH.to_json())
    config = config_of(root, export_size=(64, 96))
    with pytest.raises(MissingData, match="no checkpoint of a detector"):
        export(dataclasses.replace(config, export=("onnx",)), tmp_path)
    for name in ("checkpoints", "classes.json"):
        (tmp_path / name).symlink_to(trained.workdir / name)
    export(dataclasses.replace(config, export=("onnx",)), tmp_path)
    assert f"Saved {tmp_path / 'detector.onnx'}." in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"))
    assert session.get_inputs()[0].shape == [1, 3, 64, 96]
    with pytest.raises(InvalidConfig, match="exported as onnx only"):
        export(dataclasses.replace(config, export=("litert",)), tmp_path)


def test_drawn_boxes_and_masks_lie_where_they_were_found():
    from deepmad_jax.tasks.detect.pictures import Found, draw

    found = Found(
        np.array([[10.0, 20, 30, 40]]), np.array([0.9]), np.array([1]), np.ones((1, 28, 28))
    )
    image = np.asarray(draw(np.zeros((60, 50, 3), np.uint8), found, ("a", "b")))
    assert image[30, 20].any()  # inside: the mask
    assert image[30, 10].max() == 255  # the box
    assert not image[45:, :].any()
    assert not image[:, 45:].any()


def test_words_of_a_box_at_the_right_edge_are_whole():
    from deepmad_jax.tasks.detect.pictures import Found, draw

    def words(left):
        box = np.array([[left, 40.0, 99, 60]])
        found = Found(box, np.array([0.9]), np.array([0]), None)
        image = np.asarray(draw(np.zeros((70, 100, 3), np.uint8), found, ("a",)))
        return image[25:39].any(-1).sum()

    assert words(90.0) == words(20.0) > 100
