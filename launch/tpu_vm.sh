#!/bin/bash
# One training run on all hosts of a Cloud TPU slice; one process on each, with all its chips.
#
#     export ZONE=us-west4-a TYPE=v5litepod-16 VERSION=v2-alpha-tpuv5-lite NFS=10.0.0.2:/runs
#     launch/tpu_vm.sh create my-tpu
#     launch/tpu_vm.sh copy my-tpu
#     launch/tpu_vm.sh run my-tpu --config configs/r18.py --workdir /runs/r18
#     launch/tpu_vm.sh delete my-tpu
#
# "all" does the four in turn, and deletes the slice whatever became of the run. "copy" takes what is
# committed here, and can be repeated. NFS is what all hosts mount at /runs, a Filestore say: each
# writes its part of a checkpoint there. SPOT=1 asks for a slice that may be taken away: SIGTERM lets
# the run save its step, and the same commands go on from there on the next slice. Run it from a
# machine that stays on: the hosts' processes end with the connection.
set -euo pipefail

usage() { sed -n '2,/^set/{/^#/s/^# \?//p}' "$0"; exit 2; }

create() {
    gcloud compute tpus tpu-vm create "$name" --zone="$ZONE" --accelerator-type="$TYPE" \
        --version="$VERSION" ${SPOT:+--spot}
}

on_all() { gcloud compute tpus tpu-vm ssh "$name" --zone="$ZONE" --worker=all --command="$1"; }

copy() {
    local archive
    archive=$(mktemp --suffix=.tar.gz)
    git -C "$(dirname "$0")/.." archive --format=tar.gz HEAD >"$archive"
    gcloud compute tpus tpu-vm scp "$archive" "$name":deepmad_jax.tar.gz --zone="$ZONE" --worker=all
    rm "$archive"
    # uv brings a Python that is new enough, which the hosts' own may not be.
    on_all "set -e
        mkdir -p deepmad_jax && tar -xzf deepmad_jax.tar.gz -C deepmad_jax && cd deepmad_jax
        python3 -m pip install --quiet --user uv
        [ -d .venv ] || python3 -m uv venv --python 3.11 .venv
        python3 -m uv pip install --python .venv/bin/python -c constraints.txt -e '.[train,report]' 'jax[tpu]'
        if [ -n '${NFS:-}' ] && ! mountpoint -q /runs; then
            sudo apt-get install -y -q nfs-common && sudo mkdir -p /runs
            sudo mount -t nfs '${NFS:-}' /runs && sudo chmod a+rwx /runs
        fi"
}

run() {
    # DEEPMAD_JOIN_SECONDS: the hosts are reached one after the other.
    on_all "cd deepmad_jax && DEEPMAD_JOIN_SECONDS=300 exec .venv/bin/python -u -m deepmad_jax.main \
$(printf '%q ' "$@")--distributed=auto"
}

delete() { gcloud compute tpus tpu-vm delete "$name" --zone="$ZONE" --quiet; }

[[ $# -ge 2 ]] || usage
action=$1 name=$2
shift 2
: "${ZONE:?such as us-west4-a}"

case $action in
create | all) : "${TYPE:?such as v5litepod-16}" "${VERSION:?such as v2-alpha-tpuv5-lite}" ;;
esac
case $action in
create | copy | run | delete) "$action" "$@" ;;
all)
    create
    trap delete EXIT
    copy
    run "$@"
    ;;
*) usage ;;
esac
