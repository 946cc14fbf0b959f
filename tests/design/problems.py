"""Problems that several tests share, so that each form is compiled once."""

from deepmad_jax.design.program.problem import Problem

R18 = Problem(macs=1.82e9, params=11.69e6, rho=0.3)

# Small enough to enumerate: 2 stages of basic blocks.
TINY_SPACE = {
    "block": "basic",
    "strides": (1, 2),
    "kernels": (3, 5),
    "inner_ratio": (0.5, 1.0),
    "stem_width": (4, 8),
    "stem_stride": 1,
    "min_width": (4,),
    "max_width": (16,),
    "max_depth": (3,),
    "multiple_of": 4,
    "resolution": 16,
    "in_channels": 1,
    "classes": 10,
}
