#!/bin/bash
# A SLURM of two nodes on this machine, to try launch/slurm.sbatch and slurm_array.sbatch on.
#
#     apt-get install slurm-wlm munge            # Debian, Ubuntu; as root
#     launch/slurm_here.sh start /tmp/slurm      # prints the line that sets SLURM_CONF
#     export SLURM_CONF=/tmp/slurm/slurm.conf
#     sbatch --gpus-per-node=0 launch/slurm.sbatch --config configs/digits.py --workdir runs/slurm
#     launch/slurm_here.sh stop /tmp/slurm
#
# Everything lies in the folder: munge's key, the configuration, states and logs; nothing in /etc is
# read or changed. Both nodes are this machine under two of its names, with one task slot each. Jobs
# in the partition "urgent" take the nodes from those in "batch", which get SIGTERM, 60 s of grace
# and a place in the queue again, as on clusters that preempt.
set -euo pipefail

usage() { sed -n '2,/^set/{/^#/s/^# \?//p}' "$0"; exit 2; }
[[ $# == 2 ]] || usage
dir=$2

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

start() {
    for name in munged slurmctld slurmd; do
        command -v "$name" >/dev/null || { echo "$name is not installed: see $0" >&2; exit 1; }
    done
    [[ $(id -u) == 0 ]] || { echo "Only root can start jobs for users." >&2; exit 1; }
    mkdir -p "$dir"/{state,spool-first,spool-second}
    dir=$(cd "$dir" && pwd)
    first=$(hostname)
    cat >"$dir/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$first(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
AuthType=auth/munge
# A requeued job starts when its old credentials are void, in two minutes by default.
AuthInfo=socket=$dir/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdSpoolDir=$dir/spool-%n
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmdLogFile=$dir/slurmd-%n.log
SlurmdParameters=config_overrides
# No cgroups, which containers seldom have.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
KillWait=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$first NodeHostname=$first NodeAddr=127.0.0.1 Port=$(free_port) CPUs=1
NodeName=localhost NodeHostname=$first NodeAddr=127.0.0.1 Port=$(free_port) CPUs=1
PartitionName=batch Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
CONF
    export SLURM_CONF=$dir/slurm.conf
    [[ -f $dir/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
    munged --key-file="$dir/munge.key" --socket="$dir/munge.socket" --force \
        --pid-file="$dir/munge.pid" --log-file="$dir/munge.log" --seed-file="$dir/munge.seed"
    slurmctld
    slurmd -N "$first"
    slurmd -N localhost
    for _ in $(seq 60); do
        if [[ $(sinfo --noheader --partition=batch --states=idle --format=%D) == 2 ]]; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 1
    done
    sinfo >&2
    tail -n 5 "$dir"/*.log >&2
    exit 1
}

stop() {
    for pid in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munge.pid; do
        [[ -f $pid ]] && kill "$(cat "$pid")" || true
    done
}

case $1 in
start) start ;;
stop) stop ;;
*) usage ;;
esac
