"""Small architectures that between them have every case of the layer table."""

from deepmad_jax.arch import Architecture, Stage, Stem


def _arch(name, resolution, stages, *, stem=None, final_width=None, in_channels=3, **more):
    return Architecture(
        name, resolution, in_channels, 7, stem or Stem(8), tuple(stages), final_width, **more
    )


EXAMPLES = {
    arch.name: arch
    for arch in [
        _arch(
            "basic, widths equal and not, stem of stride 1",
            33,
            [
                Stage("basic", 8, 12, 3, 3, 1),
                Stage("basic", 8, 5, 5, 2, 2),
                Stage("basic", 14, 6, 3, 1, 2),
            ],
            stem=Stem(8, 3, 1),
            in_channels=1,
        ),
        _arch(
            "basic, grouped",
            64,
            [Stage("basic", 8, 12, 3, 2, 2, groups=4), Stage("basic", 16, 20, 3, 3, 1, groups=2)],
        ),
        _arch(
            "k1kx, odd widths, odd maps",
            63,
            [Stage("k1kx", 8, 7, 5, 3, 2), Stage("k1kx", 11, 9, 3, 2, 1)],
        ),
        _arch(
            "k1kx, grouped, final conv",
            75,
            [Stage("k1kx", 12, 6, 3, 2, 2, groups=3)],
            final_width=17,
        ),
        _arch(
            "bottleneck, odd widths, stem 5x5",
            75,
            [
                Stage("bottleneck", 9, 3, 5, 1, 2),
                Stage("bottleneck", 9, 5, 3, 4, 1),
                Stage("bottleneck", 21, 4, 1, 2, 2),
            ],
            stem=Stem(5, 5, 2),
        ),
        _arch(
            "bottleneck, grouped, final conv",
            40,
            [Stage("bottleneck", 12, 8, 3, 3, 2, groups=4)],
            final_width=20,
        ),
        _arch(
            "mbconv, joined with pool, joined, not joined",
            63,
            [
                Stage("mbconv", 8, 20, 3, 3, 2),
                Stage("mbconv", 8, 9, 7, 1, 1),
                Stage("mbconv", 13, 40, 5, 2, 2),
            ],
            final_width=33,
        ),
        _arch(
            "mbconv_se, joined with pool, joined, not joined",
            63,
            [
                Stage("mbconv_se", 8, 24, 5, 2, 1),
                Stage("mbconv_se", 8, 60, 3, 1, 2),
                Stage("mbconv_se", 13, 78, 5, 3, 2),
            ],
            final_width=33,
        ),
        _arch(
            "baselines, every kind, max pool",
            24,
            [
                Stage("res_basic", 12, 6, 3, 1, 1),
                Stage("res_basic_pad", 16, 6, 3, 1, 2),
                Stage("res_bottleneck", 16, 4, 3, 1, 1, groups=2),
                Stage("inverted", 16, 32, 5, 1, 1),
                Stage("inverted_se", 12, 36, 3, 1, 1),
                Stage("convnext", 16, 24, 5, 2, 2),
            ],
            stem=Stem(8, 5, 2, "max_pool"),
            final_width=20,
            activation="silu",
            head_norm=True,
        ),
        _arch(
            "resnet, projections, odd maps, grouped",
            63,
            [
                Stage("res_basic", 8, 8, 3, 1, 2),
                Stage("res_basic", 12, 6, 5, 2, 1),
                Stage("res_bottleneck", 12, 8, 3, 2, 2, groups=4),
            ],
            stem=Stem(8, 7, 2, "max_pool"),
        ),
        _arch(
            "padded shortcuts, odd maps",
            33,
            [
                Stage("res_basic_pad", 8, 8, 3, 2, 2),
                Stage("res_basic_pad", 8, 5, 3, 1, 2),
                Stage("res_basic_pad", 13, 9, 3, 2, 1),
            ],
            stem=Stem(8, 3, 1),
        ),
        _arch(
            "inverted, expansion of 1, joined, not joined",
            63,
            [
                Stage("inverted", 6, 6, 3, 1, 1),
                Stage("inverted", 9, 27, 5, 3, 2),
                Stage("inverted_se", 9, 36, 3, 2, 1),
                Stage("inverted_se", 2, 8, 3, 2, 2),
            ],
            final_width=33,
            activation="relu6",
        ),
        _arch(
            "convnext, patches that do not fit, widths with and without stride",
            62,
            [
                Stage("convnext", 8, 20, 7, 2, 1),
                Stage("convnext", 12, 48, 7, 3, 2),
                Stage("convnext", 12, 30, 3, 1, 2),
                Stage("convnext", 9, 30, 3, 2, 1),
            ],
            stem=Stem(8, 4, 4, "patch"),
            head_norm=True,
        ),
    ]
}
"""Name -> architecture."""
