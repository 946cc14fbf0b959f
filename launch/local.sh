#!/bin/bash
# One run on this machine.
#
#     launch/local.sh --config configs/r18.py --workdir runs/r18         # one process, all devices
#     launch/local.sh -n 2 --config configs/digits.py --workdir runs/two # two, as on two hosts
#
# One process is what to use: it has all GPUs or TPU cores of the machine. Several, connected over
# loopback, try out what several hosts will do; each has an equal share of the GPUs, or runs on the
# CPU where there are none. PYTHON names another interpreter than the .venv here.
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
if [[ ${1:-} == -n ]]; then
    exec "$python" launch/local_processes.py "${@:2}"
fi
exec "$python" -u -m deepmad_jax.main "$@"
