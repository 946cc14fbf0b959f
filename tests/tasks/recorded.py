"""Arrays that other implementations recorded, in PyTorch's layout and names, into our modules."""

import jax.numpy as jnp
import numpy as np

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def load(file):
    with np.load(file) as arrays:
        return {key: arrays[key] for key in arrays.files}


def below(arrays, prefix):
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def nhwc(x):
    return np.transpose(x, (0, 2, 3, 1)) if x.ndim == 4 else x


def set_conv(module, arrays, key):
    """Weights of a conv (OIHW) or dense layer (out, in), and a bias where there is one."""
    weight = arrays[f"{key}.weight"]
    weight = weight.transpose((2, 3, 1, 0) if weight.ndim == 4 else (1, 0))
    assert module.kernel[...].shape == weight.shape
    module.kernel[...] = jnp.asarray(weight)
    assert (f"{key}.bias" in arrays) == (module.bias is not None)
    if module.bias is not None:
        module.bias[...] = jnp.asarray(arrays[f"{key}.bias"])
