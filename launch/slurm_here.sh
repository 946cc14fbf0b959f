#!/bin/bash
# A SLURM of two nodes on this machine, to try launch/slurm.sbatch and slurm_array.sbatch on.
#
#     apt-get install slurm-wlm munge            # Debian, Ubuntu; as root
#     launch/slurm_here.sh start /tmp/slurm      # prints the line that sets SLURM_CONF
#     export SLURM_CONF=/tmp/slurm/slurm.conf
#     sbatch --gpus-per-node=0 launch/slurm.sbatch --config configs/digits.py --workdir runs/slurm
#     launch/slurm_here.sh stop /tmp/slurm
#
# or all of it at once: "try" starts it, trains on digits in two tasks, has an urgent job take the
# nodes in the middle of that, sees the training go on and end, trains four networks in an array of
# two jobs of which one is lost, has what is missing done, and stops it. It takes some minutes, and
# prints what became of each job.
#
#     launch/slurm_here.sh try /tmp/slurm
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
    export SLURM_CONF=$dir/slurm.conf
    # Jobs first: a step with nobody to report its end to would keep its daemon alive.
    squeue --noheader --format=%A | sort -u | xargs --no-run-if-empty scancel || true
    for _ in $(seq 60); do
        [[ -n $(squeue --noheader) ]] || break
        sleep 1
    done
    for pid in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munge.pid; do
        if [[ -f $pid ]]; then kill "$(cat "$pid")" || true; fi
    done
}

# Waits until a job has left the queue, and says how it ended; fails unless it was completed.
ended() {
    while [[ -n $(squeue --noheader --job="$1") ]]; do sleep 1; done
    scontrol --oneliner show job "$1" | grep -oE '\b(JobId|JobState|Restarts|ExitCode)=\S+' | xargs -n 4
    ! scontrol show job "$1" | grep JobState= | grep -qv COMPLETED
}

try() {
    start
    trap stop EXIT
    cd "$(dirname "$0")/.."
    export SLURM_CONF=$dir/slurm.conf JAX_PLATFORMS=cpu
    job=$(sbatch --parsable --output="$dir/%x-%j.log" launch/slurm.sbatch --config configs/digits.py \
        --workdir "$dir/digits")
    until grep -qs '"split": "train"' "$dir/digits/metrics.jsonl"; do
        [[ -n $(squeue --noheader --job="$job") ]] || { cat "$dir/deepmad-$job.log"; exit 1; }
        sleep 1
    done
    echo "Job $job trains; an urgent job takes the nodes."
    sbatch --parsable --partition=urgent --nodes=2 --output=/dev/null --wrap='sleep 1' >/dev/null
    ended "$job"
    grep -E 'going on from|back into the queue' "$dir/deepmad-$job.log" || true
    tail -n 1 "$dir/digits/metrics.jsonl"

    study=(launch/slurm_array.sbatch --config configs/digits.py --workdir "$dir/study"
        --config.jobs=study --config.sample.count=4 --config.design.params=5k
        --config.design.macs=200k --config.design.rho=inf --config.design.multiple_of=2
        --config.design.min_width=2 "--config.design.stem_width=2,8"
        --config.train.epochs=1 --config.train.warmup_epochs=0)
    array=$(sbatch --parsable --output="$dir/%x-%A-%a.log" --array=0-1 "${study[@]}")
    job=$(sbatch --parsable --output="$dir/%x-rest.log" --dependency="afterany:$array" "${study[@]}")
    until [[ -d $dir/study/001 ]]; do
        [[ -n $(squeue --noheader --job="$array") ]] || { cat "$dir"/deepmad-study-*.log; exit 1; }
        sleep 1
    done
    echo "Job ${array}_1 trains its first network, and is lost."
    scancel "${array}_1"
    ended "$array" || true
    ended "$job"
    grep -E '^(Network|Training network|4 of 4)' "$dir/deepmad-study-rest.log"
    cut -d, -f1-6 "$dir/study/study.csv"
}

case $1 in
start) start ;;
stop) stop ;;
try) try ;;
*) usage ;;
esac
