import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from segment_fixtures import POOLS, auxiliary_head, before_training, load, maps, uper_head

from deepmad_jax.nets.parts import drop_channels
from deepmad_jax.nets.resize import averaging, interpolation, resized
from deepmad_jax.tasks.segment.loss import IGNORED, pixel_loss
from tests.tasks.recorded import CLOSE, below, nhwc

FIXTURE = load("upernet")
KEYS = jax.random.split(jax.random.key(3), 2)
LABELS = jnp.asarray(FIXTURE["labels"][:, 0])


@pytest.fixture(scope="module")
def heads():
    return {
        "uper": before_training(uper_head(below(FIXTURE, "uper/state/")), maps(FIXTURE)),
        "fcn": before_training(auxiliary_head(below(FIXTURE, "fcn/state/")), maps(FIXTURE)[2]),
    }


def given(kind):
    return maps(FIXTURE) if kind == "uper" else maps(FIXTURE)[2]


@nnx.jit
def evaluated(head, maps):
    return head(maps, False)


@pytest.mark.parametrize("kind", ["uper", "fcn"])
@pytest.mark.parametrize(("train", "name"), [(False, "logits"), (True, "logits_train_mode")])
def test_logits_are_those_of_mmsegmentation(heads, kind, train, name):
    # Dropout is off in the recorded training mode.
    head = nnx.clone(heads[kind])
    found = nnx.jit(lambda head, x: head(x, train))(head, given(kind))
    np.testing.assert_allclose(found, nhwc(FIXTURE[f"{kind}/{name}"]), **CLOSE)


@pytest.mark.parametrize(("kind", "weight"), [("uper", 1.0), ("fcn", 0.4)])
def test_losses_and_classes_are_those_of_mmsegmentation(heads, kind, weight):
    logits = evaluated(heads[kind], given(kind))
    loss, right = pixel_loss(logits, LABELS)
    np.testing.assert_allclose(weight * loss, FIXTURE[f"{kind}/loss_ce"], **CLOSE)
    np.testing.assert_allclose(100 * right, FIXTURE[f"{kind}/acc_seg"][0], **CLOSE)
    whole = resized(logits, LABELS.shape[1:])
    np.testing.assert_array_equal(whole.argmax(-1), FIXTURE[f"{kind}/argmax_resized"])


def test_gradients_are_pytorchs(heads):
    torch = pytest.importorskip("torch")
    state = {
        name: torch.tensor(value, requires_grad="running" not in name)
        for name, value in FIXTURE.items()
        if "/state/" in name
    }
    images = [torch.tensor(FIXTURE[f"in{i}"], requires_grad=True) for i in range(4)]
    theirs = _torch_loss(torch, state, images)
    theirs.backward()

    head, aux = heads["uper"], heads["fcn"]

    def loss(head, aux, maps):
        main, _ = pixel_loss(head(maps, True), LABELS)
        second, _ = pixel_loss(aux(maps[2], True), LABELS)
        return main + 0.4 * second

    clones = nnx.clone(head), nnx.clone(aux)
    function = nnx.jit(nnx.value_and_grad(loss, argnums=(0, 1, 2)))
    ours, (of_head, of_aux, of_maps) = function(*clones, maps(FIXTURE))
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-5)
    for found, image in zip(of_maps, images, strict=True):
        assert_near(found, nhwc(image.grad.numpy()))
    pairs = {
        "uper/state/conv_seg": of_head.classes,
        "uper/state/fpn_bottleneck.conv": of_head.fuse.conv,
        "uper/state/bottleneck.conv": of_head.context.conv,
        "uper/state/psp_modules.3.1.conv": of_head.pooled[3].conv,
        "uper/state/lateral_convs.0.conv": of_head.laterals[0].conv,
        "uper/state/fpn_convs.1.conv": of_head.outputs[1].conv,
        "fcn/state/convs.0.conv": of_aux.hidden.conv,
    }
    for name, module in pairs.items():
        wanted = state[f"{name}.weight"].grad.numpy().transpose(2, 3, 1, 0)
        assert_near(module.kernel[...], wanted)
    assert_near(of_head.fuse.norm.scale[...], state["uper/state/fpn_bottleneck.bn.weight"].grad)


def assert_near(found, wanted):
    # BatchNorm's gradient is a small difference of sums over some hundred pixels.
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * abs(wanted).max())


def _torch_loss(torch, state, images):
    """UPerNet written from its paper in PyTorch, for its gradients."""
    from torch.nn import functional as F

    def layer(x, key):
        weight = state[f"{key}.conv.weight"]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        scale, bias = state[f"{key}.bn.weight"], state[f"{key}.bn.bias"]
        return F.relu(F.batch_norm(x, None, None, scale, bias, training=True))

    def larger(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    def entropy(x, key):
        x = F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"])
        labels = torch.tensor(np.array(LABELS, np.int64))
        x = larger(x, labels.shape[1:])
        return F.cross_entropy(x, labels, ignore_index=IGNORED, reduction="none").mean()

    seen = [images[3]]
    for i, side in enumerate(POOLS):
        x = F.adaptive_avg_pool2d(images[3], side)
        x = layer(x, f"uper/state/psp_modules.{i}.1")
        seen.append(larger(x, images[3].shape[2:]))
    merged = [layer(images[i], f"uper/state/lateral_convs.{i}") for i in range(3)]
    merged.append(layer(torch.cat(seen, 1), "uper/state/bottleneck"))
    for i in (2, 1, 0):
        merged[i] = merged[i] + larger(merged[i + 1], merged[i].shape[2:])
    merged[:3] = [layer(merged[i], f"uper/state/fpn_convs.{i}") for i in range(3)]
    x = torch.cat([larger(x, merged[0].shape[2:]) for x in merged], 1)
    main = entropy(layer(x, "uper/state/fpn_bottleneck"), "uper/state/conv_seg")
    second = entropy(layer(images[2], "fcn/state/convs.0"), "fcn/state/conv_seg")
    return main + 0.4 * second


def test_ignored_pixels_count_in_the_divisor_only():
    logits = jnp.zeros((1, 2, 2, 3))
    labels = jnp.array([[[0, IGNORED], [IGNORED, IGNORED]]])
    loss, right = pixel_loss(logits, labels)
    np.testing.assert_allclose(loss, np.log(3) / 4, rtol=1e-6)
    assert right == 1
    loss, right = pixel_loss(logits, jnp.full((1, 2, 2), IGNORED))
    assert (loss, right) == (0, 0)


def test_dropout_zeroes_whole_channels_in_training_only(heads):
    head = uper_head(below(FIXTURE, "uper/state/"), dropout=0.5)
    head.classes.kernel[...] = jnp.eye(16)[:, :7].reshape(1, 1, 16, 7)
    head.classes.bias[...] = jnp.zeros(7)
    plain = nnx.clone(head)(given("uper"), False)
    found = nnx.clone(head)(given("uper"), True, KEYS)
    kept = np.asarray((found != 0).any((1, 2)))
    whole = nnx.clone(head)
    whole.dropout = 0.0
    full = whole(given("uper"), True)
    np.testing.assert_allclose(found, 2 * np.where(kept[:, None, None], full, 0), rtol=1e-5)
    assert kept.sum() < (np.asarray(full) != 0).any((1, 2)).sum()
    np.testing.assert_array_equal(plain, head(given("uper"), False, KEYS))


def test_an_image_loses_the_same_channels_wherever_it_lies_in_the_batch():
    x = jnp.ones((2, 1, 1, 40))
    found = drop_channels(x, 0.5, KEYS)
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(drop_channels(x, 0.5, KEYS[::-1]), found[::-1])


@pytest.mark.parametrize(("new", "old"), [(7, 3), (3, 7), (5, 5), (1, 4), (4, 1)])
def test_interpolation_and_means_are_pytorchs(new, old):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 2, old, old)).astype(np.float32)
    larger = torch.nn.functional.interpolate(
        torch.tensor(x), (new, new), mode="bilinear", align_corners=False
    )
    a = interpolation(new, old)
    np.testing.assert_allclose(a @ x @ a.T, larger, rtol=1e-5, atol=1e-6)
    b = averaging(new, old)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), new)
    np.testing.assert_allclose(b @ x @ b.T, pooled, rtol=1e-5, atol=1e-6)
