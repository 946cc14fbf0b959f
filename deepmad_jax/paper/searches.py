"""What it costs to find an architecture: Table 11, and what other methods' papers say of theirs.

Of Table 11 this project has a record of DeepMAD's own row alone. The other rows here are what the
authors of each method print; hours of different devices do not compare beyond their magnitude.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Search:
    """A method's cost as published.

    Attributes:
        method: with the year.
        cost: in the source's own words and units.
        device_hours: the same as hours of one device.
        source: where it is printed.
    """

    method: str
    cost: str
    device_hours: float
    source: str


DEEPMAD = Search("DeepMAD-B0", "under 1 CPU-hour", 1.0, "the paper, Table 11")

SEARCHES = (
    Search("NASNet, 2018", "500 GPUs for 4 days", 48_000.0, "arXiv 1707.07012"),
    Search("AmoebaNet, 2019", "450 GPUs for 7 days", 75_600.0, "arXiv 1802.01548"),
    Search("DARTS, 2019", "4 GPU-days, CIFAR-10", 96.0, "arXiv 1806.09055"),
    Search("ProxylessNAS, 2019", "200 GPU-hours", 200.0, "arXiv 1812.00332"),
    Search("FBNet, 2019", "216 GPU-hours", 216.0, "arXiv 1812.03443"),
    Search("Single-Path NAS, 2019", "30 TPU-hours", 30.0, "arXiv 1904.02877"),
    Search("Once-for-all, 2020", "1,200 GPU-hours, once", 1_200.0, "arXiv 1908.09791"),
    Search("Zen-NAS, 2021", "under half a GPU-day", 12.0, "arXiv 2102.01063"),
)
"""Oldest first. The first three search on CIFAR-10, the others on ImageNet, Zen-NAS
without data."""
