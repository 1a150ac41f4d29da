# shellcheck shell=bash
# What dist_{train,test}.sh and slurm_{train,test}.sh share; they source it.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

is_count() {
    [[ ${1:-} =~ ^[1-9][0-9]*$ ]]
}

# launch_with_torchrun PROGRAM PROCESSES [options of the program]
launch_with_torchrun() {
    local program=$1 processes=${2:-}
    if ! is_count "$processes" || (($# < 3)); then
        cat >&2 <<END
usage: $(basename "$0") PROCESSES --cfg_file FILE [further options of $program]

Runs $program in so many processes on this machine: one for each GPU; on a CPU, two or more share
its cores. --batch_size is the total and must be divisible by their number. A free port is found.
TORCHRUN_ARGS in the environment replaces --standalone, for several machines or restarts, such as
TORCHRUN_ARGS="--standalone --max-restarts=3"; see docs/distributed.md.
END
        exit 2
    fi
    shift 2
    local torchrun_args
    read -ra torchrun_args <<<"${TORCHRUN_ARGS:---standalone}"
    exec torchrun "${torchrun_args[@]}" --nproc_per_node="$processes" \
        "$tools/$program" --launcher pytorch "$@"
}

# launch_with_srun PROGRAM PARTITION JOB_NAME GPUS [options of the program]
launch_with_srun() {
    local program=$1 partition=${2:-} job=${3:-} gpus=${4:-}
    if ! is_count "$gpus" || [[ -z $partition || -z $job ]] || (($# < 5)); then
        cat >&2 <<END
usage: $(basename "$0") PARTITION JOB_NAME GPUS --cfg_file FILE [further options of $program]

Runs $program under Slurm with one process for each GPU, at most 8 on a machine. --batch_size is the
total and must be divisible by GPUS. The port follows from the number of the job. Environment:
GPUS_PER_NODE (default: 8 or GPUS), CPUS_PER_TASK (default: 5) and SRUN_ARGS (further options).
END
        exit 2
    fi
    shift 4
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))} srun_args
    if ! is_count "$per_node" || ((gpus % per_node)); then
        echo "$(basename "$0"): $gpus GPUS cannot be shared out as GPUS_PER_NODE=$per_node" >&2
        exit 2
    fi
    read -ra srun_args <<<"${SRUN_ARGS:-}"
    exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${srun_args[@]+"${srun_args[@]}"} python -u "$tools/$program" --launcher slurm "$@"
}
