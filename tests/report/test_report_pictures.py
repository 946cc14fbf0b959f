import dataclasses
import io
import itertools
import random

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from PIL import Image

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.report import canvas, network, pictures
from deepmad_jax.report.read import Metrics, Run, read_metrics

NO_METRICS = Metrics()


def draw_network(arch):
    with canvas.style("network"):
        return network.draw(arch)


def heights_and_centres(collection: PolyCollection):
    boxes = [path.get_extents() for path in collection.get_paths()]
    return np.array([box.height for box in boxes]), np.array([(b.x0 + b.x1) / 2 for b in boxes])


def texts_of(figure):
    """Window boxes of all visible, non-empty texts, ticks and labels of panels included."""
    canvas_ = FigureCanvasAgg(figure)
    canvas_.draw()
    found = []
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title]
        if axes.axison:
            for axis, low_high in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                low, high = sorted(low_high)
                found.append(axis.label)
                found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        if axes.get_legend() is not None:
            found += axes.get_legend().get_texts()
    return [(t.get_text(), t.get_window_extent()) for t in found if t.get_text()]


def assert_readable(figure):
    """No text overlaps another or leaves the sheet."""
    boxes = texts_of(figure)
    sheet = figure.bbox
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= sheet.x1 and box.y1 <= sheet.y1
        assert inside, f"{text!r} leaves the sheet"
    for (text, box), (other, other_box) in itertools.combinations(boxes, 2):
        # Line boxes have some air above and below the letters: a point of overlap is no overlap.
        across = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        along = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert across <= 1 or along <= 2, f"{text!r} overlaps {other!r}"


def random_architecture(rng, num_stages):
    block = rng.choice(["basic", "bottleneck", "mbconv_se"])
    widths = sorted(rng.randrange(8, 2049, 8) for _ in range(num_stages))
    stages = tuple(
        Stage(
            block,
            width,
            6 * width if block == "mbconv_se" else max(8, width // rng.choice([1, 4, 10])),
            rng.choice([3, 5]),
            rng.choice([1, 1, 2, 7, 30]),
            rng.choice([1, 2]),
        )
        for width in widths
    )
    resolution = rng.choice([16, 32, 224, 288])
    final = rng.choice([None, 1280])
    return Architecture("random", resolution, 3, 1000, Stem(8, 3, 2), stages, final)


@pytest.mark.parametrize("name", ["r18", "deepmad_29m", "three_stages"])
def test_bars_are_the_blocks_and_their_heights_the_channels(sample, name):
    arch = sample(name)
    outer, inner = draw_network(arch).axes[0].collections[:2]
    widths = [arch.stem.width] + [s.width for s in arch.stages for _ in range(s.depth)]
    widths += [] if arch.final_width is None else [arch.final_width]
    inners = [s.inner for s in arch.stages for _ in range(s.depth)]
    outer_heights, outer_centres = heights_and_centres(outer)
    inner_heights, inner_centres = heights_and_centres(inner)
    # One linear scale for both kinds of bar, and each thin bar stands on its block's.
    scale = outer_heights[0] / widths[0]
    np.testing.assert_allclose(outer_heights, scale * np.array(widths), rtol=1e-9)
    np.testing.assert_allclose(inner_heights, scale * np.array(inners), rtol=1e-9)
    np.testing.assert_allclose(inner_centres, outer_centres[1 : 1 + len(inners)], rtol=1e-9)
    assert np.all(np.diff(outer_centres) > 0)


def test_boxes_have_the_resolutions_and_widths_of_the_outputs(sample):
    arch = sample("r18")
    boxes = draw_network(arch).axes[0].collections[2]
    fronts = [path.get_extents() for path in boxes.get_paths()[::3]]
    heights = np.array([box.height for box in fronts])
    lengths = np.array([box.width for box in fronts])
    np.testing.assert_allclose(heights / heights[0], np.array([112, 56, 28, 14, 14, 7]) / 112)
    np.testing.assert_allclose(lengths / lengths[0], np.array([40, 168, 384, 552, 720, 1120]) / 40)


@pytest.mark.parametrize("name", ["r18", "deepmad_r18", "deepmad_29m", "three_stages"])
def test_network_labels_do_not_overlap(sample, name):
    assert_readable(draw_network(sample(name)))


@pytest.mark.parametrize("num_stages", [1, 3, 4, 5, 6, 7, 12])
def test_labels_do_not_overlap_for_any_depths(num_stages):
    assert_readable(draw_network(random_architecture(random.Random(num_stages), num_stages)))


def test_bars_of_neighbouring_stages_do_not_touch_at_depth_30():
    stages = tuple(Stage("basic", 64, 64, 3, 30, 1) for _ in range(7))
    outer = draw_network(Architecture("deep", 64, 3, 10, Stem(64), stages)).axes[0].collections[0]
    boxes = [path.get_extents() for path in outer.get_paths()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_entropy_and_budget_labels_do_not_overlap(sample, r18_design):
    with canvas.style("entropy"):
        assert_readable(pictures.entropy_figure(sample("r18"), r18_design))
        r18_design["budgets"]["rho"] = None
        assert_readable(pictures.entropy_figure(sample("r18"), r18_design))


def test_convergence_labels_do_not_overlap(r18_design):
    with canvas.style("convergence"):
        assert_readable(pictures.convergence_figure({**r18_design, "upper_bound": 64601.0}))


def test_entropy_bars_are_the_stored_numbers(sample, r18_design):
    with canvas.style("entropy"):
        figure = pictures.entropy_figure(sample("r18"), r18_design)
    plain, weighted, budgets = (
        [patch.get_height() for patch in axes.patches] for axes in figure.axes
    )
    assert plain == r18_design["entropy_per_level"]
    assert sum(weighted) == pytest.approx(r18_design["entropy"], rel=1e-12)
    shares = [patch.get_width() for patch in figure.axes[2].patches]
    assert len(budgets) == 3
    assert shares[0] == pytest.approx(100 * 11_672_112 / 11_690_000)


def test_pictures_are_png_with_something_on_them(sample, r18_design, workdir):
    run = Run(sample("r18"), r18_design, None, read_metrics(workdir / "metrics.jsonl"))
    drawn = pictures.draw(run)
    assert list(drawn) == ["network", "entropy", "convergence", "training"]
    for picture in drawn.values():
        image = Image.open(io.BytesIO(picture.png))
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] > 1500
        assert 0.01 < (pixels != 255).any(axis=2).mean() < 0.6
        assert len(np.unique(pixels @ [1, 256, 65536])) > 50


def test_same_run_gives_the_same_bytes(sample, r18_design):
    run = Run(sample("deepmad_29m"), r18_design, None, NO_METRICS)
    assert pictures.draw(run) == pictures.draw(run)


def test_pictures_without_data_are_left_out(sample):
    assert list(pictures.draw(Run(sample("three_stages"), None, None, NO_METRICS))) == ["network"]
    odd = {"convergence": {"objective": [1.0, None]}, "entropy_per_level": [], "budgets": 3}
    assert list(pictures.draw(Run(sample("three_stages"), odd, None, NO_METRICS))) == ["network"]


@pytest.mark.parametrize("name", ["$x_{", "\\frac", "<b>&", "网络 🎉", "two\nlines", "", "n" * 999])
def test_any_name_can_be_drawn(sample, name):
    figure = draw_network(dataclasses.replace(sample("three_stages"), name=name))
    assert_readable(figure)


def test_no_violation_and_numbers_that_are_not_finite_can_be_drawn(sample):
    design = {"convergence": {"violation": [0.1, 0.0, 0.0], "objective": [5.0], "search": [4.0]}}
    train = (
        {"step": 1, "loss": float("nan"), "top1": 0.1},
        {"step": 2, "loss": 2.0, "learning_rate": None},
    )
    run = Run(sample("three_stages"), design, None, Metrics(train=train))
    assert list(pictures.draw(run)) == ["network", "convergence", "training"]


def test_top1_is_drawn_in_percent_for_train_and_evaluation(workdir):
    with canvas.style("training"):
        figure = pictures.training_figure(read_metrics(workdir / "metrics.jsonl"))
    axes = figure.axes[1]
    curves = {line.get_label(): line for line in axes.lines}
    assert list(curves["eval"].get_xdata()) == [50, 100]
    assert list(curves["eval"].get_ydata()) == pytest.approx([61.0, 82.5])
    assert len(curves["train"].get_xdata()) == 10


def test_drawing_leaves_the_users_matplotlib_settings_alone(sample, r18_design):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pictures.draw(Run(sample("r18"), r18_design, None, NO_METRICS))
    assert dict(matplotlib.rcParams) == before
