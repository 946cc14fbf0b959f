"""How fast a run is, for its log: images a second, of each device too, and the share of its peak.

    mfu = 6 macs images_per_second / (devices peak)

is the model's use of the devices' arithmetic: a multiply-accumulate is two operations, and a step
does each of the forward pass once more for the gradient of the input and once for that of the
kernel. What is computed again to save memory does not count.

Source: Chowdhery et al. 2022 (arXiv 2204.02311), section 4.1 and appendix B.
"""

import dataclasses

import jax

PEAK_TFLOPS = {
    "TPU v2": 22.5,  # two cores a chip, each a device
    "TPU v3": 61.5,
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5e": 197.0,
    "TPU v5": 459.0,
    "TPU v5p": 459.0,
    "TPU v6 lite": 918.0,
    "TPU v6e": 918.0,
    "NVIDIA A100": 312.0,
    "NVIDIA L4": 121.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA H100": 989.0,
    "NVIDIA H100 NVL": 835.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H200": 989.0,
    "NVIDIA H200 NVL": 835.0,
    "NVIDIA B200": 2250.0,
}
"""How JAX calls a device -> 10^12 bfloat16 operations a second of it, without sparsity, by the
makers' data sheets. The longest name that a device's begins with counts."""


def peak_tflops(kind: str, dtype: str) -> float | None:
    """What a device can do, 10^12 operations a second; None where the table does not say.

    Args:
        kind: ``jax.Device.device_kind``.
        dtype: of the computation. The table is of bfloat16.

    >>> peak_tflops("NVIDIA H100 80GB HBM3", "bfloat16"), peak_tflops("NVIDIA L40", "bfloat16")
    (989.0, None)
    """
    # Whole words: an L40 is no L4.
    names = [name for name in PEAK_TFLOPS if f"{kind} ".startswith((f"{name} ", f"{name}-"))]
    if dtype != "bfloat16" or not names:
        return None
    return PEAK_TFLOPS[max(names, key=len)]


@dataclasses.dataclass(frozen=True)
class Speed:
    """What is needed to say how fast a run is.

    Attributes:
        devices: of all processes.
        macs: multiply-accumulates of the network for one image, or None where they are not counted.
        peak_tflops: of one device, or None where it is not known.
    """

    devices: int
    macs: float | None = None
    peak_tflops: float | None = None

    @classmethod
    def here(cls, macs: float | None, dtype: str, given_tflops: float | None = None) -> "Speed":
        """Of the devices at hand; ``given_tflops`` goes before the table."""
        device = jax.devices()[0]
        peak = given_tflops or peak_tflops(device.device_kind, dtype)
        return cls(jax.device_count(), macs, peak)

    def line(self, images_per_second: float) -> dict[str, float | None]:
        """What a log line says of it; ``mfu`` is None where MACs or peak are not known.

        >>> Speed(devices=8, macs=4.1e9, peak_tflops=275.0).line(20_000.0)["mfu"]
        0.2236...
        """
        mfu = None
        if self.macs is not None and self.peak_tflops is not None:
            mfu = 6.0 * self.macs * images_per_second / (self.devices * self.peak_tflops * 1e12)
        return {
            "images_per_second": images_per_second,
            "images_per_second_per_device": images_per_second / self.devices,
            "mfu": mfu,
        }
