"""Tables 1 to 10 of the paper, row by row, with the run that would give each row's figure here.

A row's ``run`` is written as ``config.study.runs`` takes it. Where the paper's network is published
the row names it too: what we design is another one for the same budgets. Top-1 of Table 3 stands in
`arch.zoo`, with everything that table lists.
"""

import dataclasses

from deepmad_jax.arch.zoo import ZOO


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table, for one figure.

    Attributes:
        label: as the paper calls it.
        value: the figure, percent unless the table says otherwise.
        run: what trains it here, see `config.study`; empty where nothing does.
        network: of the zoo, where the network that the paper trained is published.
        params, flops: as printed; None where this project has no record of them.
        published: the figure is another paper's, quoted.
    """

    label: str
    value: float
    run: str = ""
    network: str = ""
    params: float | None = None
    flops: float | None = None
    published: bool = False


@dataclasses.dataclass(frozen=True)
class Printed:
    """A table.

    Attributes:
        title: what it is about.
        measure: what ``Row.value`` is.
        rows: from top to bottom.
        image_px: height and width of the images for which FLOPs are counted, of a backbone by
            itself as mmcv counts; None where whole networks are counted at their own size.
        note: what a reader should know beside it.
    """

    title: str
    measure: str
    rows: tuple[Row, ...]
    image_px: tuple[int, int] | None = None
    note: str = ""


def runs_of(printed: Printed) -> tuple[str, ...]:
    """The runs behind a table, each once."""
    return tuple(dict.fromkeys(row.run for row in printed.rows if row.run))


def _compared(label: str, network: str, params: float, flops: float) -> Row:
    """A row of Table 3, in millions and G, with the zoo's top-1."""
    top1, run = ZOO[network].top1, f"compared/networks:{network}"
    return Row(label, top1, run, network, params * 1e6, flops * 1e9, published=True)


_R18, _R34, _R50 = (11.7e6, 1.8e9), (21.8e6, 3.6e9), (25.6e6, 4.1e9)
_B0, _MB = (5.3e6, 390e6), (3.5e6, 320e6)

_TABLE_1 = Printed(
    "ResNets and DeepMAD under their budgets, on ImageNet",
    "top-1, %",
    (
        Row("ResNet-18", 70.9, "", "resnet18", published=True),
        Row("ResNet-18, this recipe", 72.2, "zoo name=resnet18", "resnet18"),
        Row("DeepMAD-R18, rho 0.1", 76.9, "r18:rho0.1", "", *_R18),
        Row("DeepMAD-R18, rho 0.3", 77.7, "r18", "deepmad_r18", *_R18),
        Row("DeepMAD-R18, rho 0.5", 77.5, "r18:rho0.5", "", *_R18),
        Row("DeepMAD-R18, rho 0.7", 75.7, "r18:rho0.7", "", *_R18),
        Row("ResNet-34", 74.4, "", "resnet34", published=True),
        Row("ResNet-34, this recipe", 75.6, "zoo name=resnet34", "resnet34"),
        Row("DeepMAD-R34", 79.7, "r34", "deepmad_r34", *_R34),
        Row("ResNet-50", 77.4, "", "resnet50", published=True),
        Row("ResNet-50, this recipe", 79.3, "zoo name=resnet50", "resnet50"),
        Row("DeepMAD-R50", 80.6, "r50", "deepmad_r50", *_R50),
    ),
)

_TABLE_2 = Printed(
    "Mobile networks, on ImageNet",
    "top-1, %",
    (
        Row("EfficientNet-B0", 76.3, "", "efficientnet_b0", published=True),
        Row("DeepMAD-B0, rho 0.3", 74.3, "b0:rho0.3", "", *_B0),
        Row("DeepMAD-B0, rho 0.5", 76.1, "b0", "", *_B0),
        Row("DeepMAD-B0, rho 1.0", 75.9, "b0:rho1.0", "", *_B0),
        Row("DeepMAD-B0, rho 1.5", 75.7, "b0:rho1.5", "", *_B0),
        Row("DeepMAD-B0, rho 2.0", 74.9, "b0:rho2.0", "", *_B0),
        Row("MobileNetV2", 72.0, "", "mobilenet_v2", published=True),
        Row("DeepMAD-MB, rho 0.5", 72.3, "mb", "", *_MB),
    ),
)

_TABLE_3 = Printed(
    "ConvNets and transformers, on ImageNet",
    "top-1, %",
    (
        *(
            Row(label, ZOO[network].top1, "", network, published=True)
            for label, network in (
                ("ResNet-50", "resnet50"), ("ResNet-101", "resnet101"), ("ResNet-152", "resnet152"),
            )
        ),
        _compared("DeiT-S", "deit_s", 22, 4.6),
        _compared("PVT-Small", "pvt_small", 25, 3.8),
        _compared("Swin-T", "swin_t", 29, 4.5),
        _compared("TNT-S", "tnt_s", 24, 5.2),
        _compared("T2T-ViT_t-14", "t2t_vit_t_14", 22, 6.1),
        Row("ConvNeXt-T", 82.1, "", "convnext_t", published=True),
        _compared("SLaK-T", "slak_t", 30, 5.0),
        Row("DeepMAD-29M", 82.5, "deepmad_29m", "deepmad_29m", 29e6, 4.5e9),
        Row("DeepMAD-29M, 288 px", 82.8, "deepmad_29m:288", "deepmad_29m_288", 29e6, 4.5e9),
        _compared("PVT-Large", "pvt_large", 61, 9.8),
        _compared("T2T-ViT_t-19", "t2t_vit_t_19", 39, 9.8),
        _compared("T2T-ViT_t-24", "t2t_vit_t_24", 64, 15.0),
        _compared("TNT-B", "tnt_b", 66, 14.1),
        _compared("Swin-S", "swin_s", 50, 8.7),
        Row("ConvNeXt-S", 83.1, "", "convnext_s", published=True),
        _compared("SLaK-S", "slak_s", 55, 9.8),
        Row("DeepMAD-50M", 83.9, "deepmad_50m", "deepmad_50m", 50e6, 8.7e9),
        _compared("DeiT-B", "deit_b", 87, 17.6),
        _compared("RepLKNet-31B", "replknet_31b", 79, 15.3),
        _compared("Swin-B", "swin_b", 88, 15.4),
        Row("ConvNeXt-B", 83.8, "", "convnext_b", published=True),
        _compared("SLaK-B", "slak_b", 95, 17.1),
        Row("DeepMAD-89M", 84.0, "deepmad_89m", "deepmad_89m", 89e6, 15.4e9),
    ),
    note="Of SLaK the paper counts the weights that are not zero; here all of them are.",
)  # fmt: skip

_COCO_PX = (800, 1280)
_R50_COCO, _DEEPMAD_COCO = (23.5e6, 84.1e9), (24.2e6, 83.2e9)

_TABLE_4 = Printed(
    "Detection on COCO",
    "box AP, %",
    (
        Row("ResNet-50, FCOS", 38.5, "detect/fcos_deepmad_r50:resnet50", "resnet50", *_R50_COCO),
        Row("DeepMAD-R50, FCOS", 40.0, "detect/fcos_deepmad_r50", "deepmad_r50", *_DEEPMAD_COCO),
        Row("ResNet-50, GFLV2", 43.9, "detect/gflv2_deepmad_r50:resnet50", "resnet50", *_R50_COCO),
        Row("DeepMAD-R50, GFLV2", 44.9, "detect/gflv2_deepmad_r50", "deepmad_r50", *_DEEPMAD_COCO),
    ),
    _COCO_PX,
)

_TABLE_5 = Printed(
    "Segmentation on ADE20K, UPerNet",
    "mIoU, %",
    (
        Row("ResNet-50", 42.8, "segment/upernet_resnet50", "resnet50", 23.5e6, 86.3e9),
        Row("ResNet-101", 44.8, "segment/upernet_resnet101", "resnet101", 42.5e6, 164.3e9),
        Row("DeepMAD-R50", 45.6, "segment/upernet_deepmad_r50", "deepmad_r50", 24.2e6, 85.2e9),
        Row("Swin-T", 45.8, "segment/upernet_swin_t", "swin_t", 27.5e6, 95.8e9),
        Row("ConvNeXt-T", 46.7, "segment/upernet_convnext_t", "convnext_t", 27.8e6, 93.2e9),
        Row("DeepMAD-29M", 46.9, "segment/upernet_deepmad_29m", "deepmad_29m_288", 26.5e6, 55.5e9),
    ),
    (512, 2048),
    "The paper tests at six scales, mirrored too: the variant :scales, --config.jobs=evaluate.",
)

_VIDEO = {"resnet50": ("ResNet-50", 23.5e6, 7.3e9), "deepmad_r50": ("DeepMAD-R50", 24.2e6, 7.3e9)}

_TABLE_6 = Printed(
    "Action recognition, TSN",
    "top-1, %",
    tuple(
        Row(
            f"{_VIDEO[net][0]}, {data}", value, f"video/tsn_{net}_{name}", net, *_VIDEO[net][1:],
        )
        for net, data, name, value in (
            ("resnet50", "UCF101", "ucf101", 83.0),
            ("deepmad_r50", "UCF101", "ucf101", 86.9),
            ("resnet50", "Kinetics-400", "kinetics400", 70.6),
            ("deepmad_r50", "Kinetics-400", "kinetics400", 71.6),
        )
    ),
    (256, 340),
)  # fmt: skip

_TABLE_7 = Printed(
    "Weight of the last level's entropy, on ImageNet",
    "top-1, %",
    (
        Row("DeepMAD-R18, alpha 1", 76.7, "r18:alpha1", "", *_R18),
        Row("DeepMAD-R18, alpha 8", 77.7, "r18", "deepmad_r18", *_R18),
        Row("DeepMAD-R18, alpha 16", 78.7, "r18:alpha16", "", *_R18),
    ),
    note="Detectors on these three are configs/detect/*.py:r18_alpha1 and so on.",
)

_TABLE_8 = Printed(
    "The three guidelines, DeepMAD-B0 after 120 epochs",
    "top-1, %",
    (
        Row("without guideline 1", 73.5, "b0:without1", "", *_B0),
        Row("without guideline 2", 73.5, "b0:without2", "", *_B0),
        Row("without guideline 3", 73.1, "b0:without3", "", *_B0),
        Row("all three", 73.7, "b0:120epochs", "", *_B0),
    ),
    note=(
        "1: weighted entropy of several scales (without: the last level's alone). 2: uniform "
        "depth. 3: widths that do not shrink."
    ),
)

_TABLE_9 = Printed(
    "Networks that are as fast, on ImageNet",
    "top-1, %",
    (
        Row("ResNet-50, 1,245 img/s", 77.4, "", "resnet50", published=True),
        Row("DeepMAD-R50-GPU, 1,171", 80.0, "r50_gpu", "", 19e6, 3.0e9),
        Row("Swin-T, 750 img/s", 81.3, "", "swin_t", published=True),
        Row("DeepMAD-ST-GPU, 767", 81.7, "st_gpu", "", 40e6, 6.0e9),
    ),
    note=(
        "Images a second are the paper's, on a V100 in float32 at the largest batch. Without a "
        "table of latencies of the device ours are designed by params and MACs alone."
    ),
)

_TABLE_10 = Printed(
    "DeepMAD with rho tuned, on ImageNet",
    "top-1, %",
    (
        Row("DeepMAD-R18, rho 0.3", 77.7, "r18", "deepmad_r18", *_R18),
        Row("DeepMAD-R18, rho 0.15", 78.2, "r18:rho0.15", "", *_R18),
        Row("DeepMAD-R34, rho 0.3", 79.7, "r34", "deepmad_r34", *_R34),
        Row("DeepMAD-R34, rho 0.15", 80.3, "r34:rho0.15", "", *_R34),
        Row("DeepMAD-MB, rho 0.5", 72.3, "mb", "", *_MB),
        Row("DeepMAD-MB, rho 1.0", 72.9, "mb:rho1.0", "", *_MB),
    ),
)

TABLES = {
    "table1": _TABLE_1,
    "table2": _TABLE_2,
    "table3": _TABLE_3,
    "table4": _TABLE_4,
    "table5": _TABLE_5,
    "table6": _TABLE_6,
    "table7": _TABLE_7,
    "table8": _TABLE_8,
    "table9": _TABLE_9,
    "table10": _TABLE_10,
}
"""Name -> table."""

FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5")

PARTS = (*TABLES, "table11", "table12", *FIGURES, "claims")
"""What ``config.paper.parts`` may hold."""
