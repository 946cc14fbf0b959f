"""What may happen to a training image on the host, after it was cut to the network's size.

``augmentation`` makes one function of (rng, image) of a config's ``auto_augment`` and
``color_jitter``. Mixing, erasing and normalisation happen on the device (`tasks.classify.mixing`).
"""

from deepmad_jax.data.augment.policies import augmentation

__all__ = ["augmentation"]
