"""Puts configs/ into a wheel as deepmad_jax/configs; all else is in pyproject.toml.

In a checkout, and so in an editable install, they are found beside the package.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Builds the package and copies the config files into it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, "deepmad_jax")
        for path in sorted(Path("configs").rglob("*.py")):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path)


setup(cmdclass={"build_py": WithConfigs})
