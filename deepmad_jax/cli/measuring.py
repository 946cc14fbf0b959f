"""The command that times a space's rows on the device at hand; `commands` lists it."""

from collections.abc import Iterable

import click

from deepmad_jax.cli.options import OneOfOrFile
from deepmad_jax.config.file import own_configs
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.main import run_command


def _configs() -> Iterable[str]:
    return own_configs()


@click.command(short_help="Time the rows of a space on this device.")
@click.argument("config", type=OneOfOrFile(_configs))
@click.option("--workdir", metavar="DIR", help="Of the run.  [default: runs/NAME]")
@click.option("--out", "-o", metavar="FILE", help="The table, instead of the config's own.")
@click.option("--batch", metavar="N", type=int, help="Images at a time; 1 for latency.")
@click.option("--verify", is_flag=True, help="Time the run's designed network instead.")
@click.option(
    "--set",
    "settings",
    metavar="FIELD=VALUE",
    multiple=True,
    help="A field of the config, such as measure.growth=2; may be given again.",
)
def measure(
    config: str,
    workdir: str | None,
    out: str | None,
    batch: int | None,
    verify: bool,
    settings: tuple[str, ...],
) -> None:
    """Time every row that a network of the config's space can have, on this device.

    The table goes where design.latency_table says, which a design with a latency limit reads. Given
    again, it goes on where the table ends. Whole networks are timed beside the sum of their rows.

    \b
    deepmad measure r50_gpu
    deepmad measure r50_gpu:cpu --out my_cpu.csv --batch 1
    deepmad measure r50_gpu --verify
    """
    flags = [f"--config={config}"]
    for setting in settings:
        if "=" not in setting:
            raise InvalidConfig(
                f"--set {setting} sets nothing: give --set FIELD=VALUE, such as measure.growth=2."
            )
        flags.append(f"--config.{setting}")
    if out is not None:
        flags.append(f"--config.design.latency_table={out}")
    if batch is not None:
        flags.append(f"--config.measure.batch={batch}")
    if workdir is not None:
        flags.append(f"--workdir={workdir}")
    run_command(["deepmad", *flags, f"--config.jobs={'verify' if verify else 'measure'}"])
