"""The commands of ``deepmad``, in the order in which one uses them."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

import deepmad_jax
from deepmad_jax.arch.stages import BLOCKS
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.cli.measuring import measure
from deepmad_jax.cli.on_files import detect, segment, video
from deepmad_jax.cli.options import Field, OneOfOrFile, field_options
from deepmad_jax.cli.terminal import heading_lines, tell
from deepmad_jax.compiled import keep_compiled_programs
from deepmad_jax.config import EXPORTS, JOBS, Config
from deepmad_jax.config.file import own_configs
from deepmad_jax.config.load import field_list
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import kinds_of
from deepmad_jax.main import exit_status, run, run_command

_EPILOG = """\
Numbers may have a unit: 50k, 11.7M, 1.8G. Exit status: 0 done, 1 a bug of ours, 2 something given
cannot be used, 75 another process of the run was lost, 130 interrupted, 143 ended by SIGTERM after
saving a checkpoint. Colours only on a terminal, and not with NO_COLOR set.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (default ``sys.argv[1:]``); returns the exit status."""
    return exit_status(lambda: _run(argv), tell)


def _run(argv: Sequence[str] | None) -> int | None:
    try:
        # Not standalone: a mistake of the user's is told in one way, whoever finds it.
        return cli.main(None if argv is None else list(argv), "deepmad", standalone_mode=False)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "deepmad"
        raise InvalidConfig(f"{error.format_message()} See {command} --help.") from error


class _InOrder(click.Group):
    """Lists its commands as they are written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    epilog=_EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(deepmad_jax.__version__, prog_name="deepmad")
def cli() -> None:
    """Design convolutional networks to a budget, train, compare and export them."""


def _names() -> Iterable[str]:
    return ZOO


def _compared() -> Iterable[str]:
    return [*ZOO, "table3"]


def _configs() -> Iterable[str]:
    return own_configs()


def _fields() -> Iterable[str]:
    lines = field_list().splitlines()
    return [f"{line.strip().removeprefix('--config.').partition('=')[0]}=" for line in lines]


@cli.command()
@field_options(Problem, first=BUDGETS, known={"block": BLOCKS})
@click.option("--name", default="design", help="Of the network.", show_default=True)
@click.option("--out", "-o", metavar="FILE", help="Write the architecture there, as JSON.")
@click.option(
    "--workdir",
    metavar="DIR",
    help="Leave everything there: architecture.json, design.json with every number, report.html.",
)
def design(name: str, out: str | None, workdir: str | None, **fields: Any) -> None:
    """The network of greatest entropy within the budgets.

    Needs --macs, --params or both. What is left out is chosen for the block kind and the
    resolution. Nothing is saved but where --out and --workdir say.

    \b
    deepmad design --macs 1.8G --params 11.7M --rho 0.3
    deepmad design --macs 41M --params 0.28M --block basic --resolution 32 --classes 100 -o my.json
    """
    from deepmad_jax import library
    from deepmad_jax.jobs.workdir import write
    from deepmad_jax.paths import local

    given = {field: value for field, value in fields.items() if value is not None}
    keep_compiled_programs()
    if workdir is None:
        designed = library.design(name=name, **given)
        click.echo(heading_lines(str(designed)))
        architecture = designed.architecture
    else:
        config = Config(name=name, jobs=("design",), design=library.problem_of(**given))
        run(config, local(workdir))
        architecture = library.load(workdir)
    if out is not None:
        write(local(out), architecture.to_json())
        click.echo(f"Saved {out}.")


@cli.command()
@click.argument("config", type=OneOfOrFile(_configs))
@click.option("--workdir", metavar="DIR", help="Of the run.  [default: runs/NAME]")
@click.option(
    "--jobs",
    metavar="JOB,...",
    type=Field(kinds_of(Config)["jobs"], "jobs"),
    help=f"Instead of the config's own: {', '.join(JOBS)}.",
)
@click.option(
    "--set",
    "settings",
    metavar="FIELD=VALUE",
    multiple=True,
    type=OneOfOrFile(_fields),
    help="A field of the config, such as train.epochs=5; may be given again.",
)
@click.option(
    "--distributed",
    metavar="SPEC",
    help="Join other processes that run the same command: auto, or HOST:PORT,COUNT,INDEX.",
)
def train(
    config: str,
    workdir: str | None,
    jobs: tuple[str, ...] | None,
    settings: tuple[str, ...],
    distributed: str | None,
) -> None:
    """Run a config: design, train and evaluate, or what it says.

    CONFIG is a config file, FILE:VARIANT, or one of the project's own, such as digits or r18:quick.
    Given again, a run goes on from its last checkpoint.

    \b
    deepmad train digits --workdir runs/digits
    deepmad train r50 --set design.macs=4.1G --set data.data_dir=/data/tfds
    """
    flags = [f"--config={config}", *(f"--config.{setting}" for setting in settings)]
    for setting in settings:
        if "=" not in setting:
            raise InvalidConfig(
                f"--set {setting} sets nothing: give --set FIELD=VALUE, such as train.epochs=5."
            )
    if jobs is not None:
        flags.append(f"--config.jobs={','.join(jobs)}")
    if workdir is not None:
        flags.append(f"--workdir={workdir}")
    if distributed is not None:
        flags.append(f"--distributed={distributed}")
    run_command(["deepmad", *flags])


@cli.command(short_help="Networks side by side in one table.")
@click.argument("networks", nargs=-1, type=OneOfOrFile(_compared))
@click.option(
    "--pictures", metavar="DIR", help="Draw the paper's Figures 1 and 4 there, of exact costs."
)
def compare(networks: tuple[str, ...], pictures: str | None) -> None:
    """Networks side by side: params, MACs, layers, rho, entropy, published accuracy.

    Each is a published name, an architecture.json, a run's folder or a TinyNAS structure file;
    :classes=N and :resolution=N after it change these. table3 is all of the paper's Table 3.
    Without any: all that are published.

    \b
    deepmad compare resnet50 deepmad_r50 my.json
    deepmad compare table3 --pictures .
    """
    from deepmad_jax.jobs.show import comparison, draw_table_3
    from deepmad_jax.paths import local

    click.echo(heading_lines(comparison(networks)))
    if pictures is not None:
        for path in draw_table_3(local(pictures)):
            click.echo(f"wrote {path}")


cli.add_command(measure)
cli.add_command(detect)
cli.add_command(segment)
cli.add_command(video)


@cli.command()
@click.argument("source", type=OneOfOrFile(_names))
@click.option(
    "--to",
    "formats",
    metavar="FORMAT,...",
    required=True,
    type=Field(kinds_of(Config)["export"], "--to"),
    help=f"One or several of {', '.join(EXPORTS)}.",
)
@click.option("--out", "-o", metavar="DIR", default=".", help="Where to.  [default: here]")
@click.option("--fold", is_flag=True, help="Fold BatchNorm into the convs.")
@click.option(
    "--checkpoint",
    type=Field(kinds_of(Config)["checkpoint"], "--checkpoint"),
    default="newest",
    help="Which of a run's.",
    show_default=True,
)
@click.option(
    "--architecture", metavar="SOURCE", help="Of a file of weights that does not hold its own."
)
def export(
    source: str,
    formats: tuple[str, ...],
    out: str,
    fold: bool,
    checkpoint: str,
    architecture: str | None,
) -> None:
    """Write a network in other formats.

    SOURCE is a run's folder, a file of weights, or an architecture, which is written with fresh
    weights.

    \b
    deepmad export runs/digits --to onnx --fold
    deepmad export net.json --to onnx,safetensors --out exports
    """
    from deepmad_jax import library
    from deepmad_jax.arch import Architecture

    found = library.load(source, architecture=architecture, checkpoint=checkpoint)
    if isinstance(found, Architecture):
        click.echo(f"{source} holds no weights: they are fresh ones, of seed 0.", err=True)
        found = library.build(found)
    for name in formats:
        for path in library.export(found, out, [name], fold):
            click.echo(f"Saved {path}.")


@cli.command(short_help="The live page: budgets by sliders.")
@click.option("--port", default=8517, help="0 takes a free one.", show_default=True)
@click.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen on; another than the default lets other machines in.",
    show_default=True,
)
@click.option("--open/--no-open", "browser", default=True, help="Open it in a browser.")
def serve(port: int, host: str, browser: bool) -> None:
    """The live page: sliders for the budgets, and the network they give while they move.

    Only this machine reaches it, unless --host says otherwise. Ctrl-C ends it.
    """
    import threading
    import webbrowser

    from deepmad_jax.serve import serve as start

    def ready(address: str) -> None:
        click.echo(f"The live page is at {address} until Ctrl-C.")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    keep_compiled_programs()
    start(host, port, ready)


@cli.command(short_help="The script for a shell's completion.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete deepmad's commands, options and values.

    \b
    eval "$(deepmad completion bash)"       # in ~/.bashrc
    eval "$(deepmad completion zsh)"        # in ~/.zshrc
    deepmad completion fish | source        # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "deepmad", "_DEEPMAD_COMPLETE").source())
