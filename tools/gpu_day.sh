#!/usr/bin/env bash
# All that is worth knowing of a GPU, in ten minutes: bash tools/gpu_day.sh [FOLDER] [STEP ...]
#
# FOLDER (default: $OUT, else output/gpu_day) gets a log for each step and summary.json. A step that
# fails does not stop the others. Without a GPU everything runs on the CPU, as a rehearsal.
# It needs the packages of the tests (make setup-dev).
# Environment: PYTHON (default: the one of .venv, else python3); FRAMES simulated for the training;
# EPOCHS of it; STEP_SECONDS, after which a step is ended.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:-${OUT:-output/gpu_day}}")
shift || true
steps=("$@")
python=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
frames=${FRAMES:-40}
epochs=${EPOCHS:-5}
data=$out/data
known=$(sed -n 's/^step \([a-z_]*\) .*/\1/p' tools/gpu_day.sh)
for name in "${steps[@]}"; do
    if ! grep -qx -- "$name" <<<"$known"; then
        echo "gpu_day.sh: no step is called $name; there are:" $known >&2
        exit 2
    fi
done
mkdir -p "$out"
: >"$out/steps.jsonl"

# step NAME COMMAND...: run a command, keep what it prints, and note how it ended.
step() {
    local name=$1 begun=$SECONDS rc=0
    shift
    if ((${#steps[@]})) && [[ " ${steps[*]} " != *" $name "* ]]; then return; fi
    echo "== $name: $*"
    rm -f "$out/$name.json" # of an earlier call
    timeout --kill-after=10 "${STEP_SECONDS:-300}" "$@" >"$out/$name.log" 2>&1 || rc=$?
    tail -n 3 "$out/$name.log" | cut -c 1-160
    printf '{"step": "%s", "rc": %d, "seconds": %d}\n' "$name" "$rc" $((SECONDS - begun)) |
        tee -a "$out/steps.jsonl"
}

train() {
    "$python" tools/train.py --cfg_file tools/cfgs/second_demo.yaml --data_dir "$data" \
        --output_dir "$out/runs" --epochs "$epochs" --batch_size 4 --workers 4 --seed 1 "$@"
}

# A training that is killed within an epoch and started again must end as one that ran through.
kill_and_resume() {
    rm -rf "$out"/runs/second_demo/{through,killed} # of an earlier call, which would be resumed
    train --extra_tag through --deterministic || return 1
    train --extra_tag killed --deterministic --ckpt_save_time_interval 2 &
    local training=$! waited=0
    until [[ -e $out/runs/second_demo/killed/ckpt/latest_model.pth || $waited -ge 240 ]]; do
        sleep 1
        waited=$((waited + 1))
    done
    pkill -KILL -P "$training" # the training: $! is the shell that runs the function
    kill -KILL "$training"
    wait "$training"
    train --extra_tag killed --deterministic || return 1
    "$python" tools/gpu_day/same_weights.py \
        "$out"/runs/second_demo/{through,killed}/ckpt/"checkpoint_epoch_$epochs.pth"
}

half_precision() {
    rm -rf "$out"/runs/second_demo/{bf16,fp16}
    train --extra_tag bf16 --amp bf16 || return 1
    if "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
        train --extra_tag fp16 --amp fp16
    fi
}

test_run() {
    "$python" tools/test.py --cfg_file tools/cfgs/second_demo.yaml --data_dir "$data" \
        --output_dir "$out/runs" --extra_tag through --workers 4 --pictures 2
}

one_rank() {
    rm -rf "$out/runs/second_demo/one_rank"
    "$python" -m torch.distributed.run --standalone --nproc_per_node=1 tools/train.py \
        --launcher pytorch --cfg_file tools/cfgs/second_demo.yaml --data_dir "$data" \
        --output_dir "$out/runs" --extra_tag one_rank --epochs 1 --batch_size 4 --seed 1
}

sanitize() {
    command -v compute-sanitizer || return 0
    compute-sanitizer --error-exitcode 9 "$python" -m pytest -q -m cuda tests/ops
}

export -f train kill_and_resume half_precision test_run one_rank sanitize
export python out data epochs

step doctor "$python" -m pcdet.doctor
step build "$python" setup.py build_ext --inplace
step tests "$python" -m pytest -q -m cuda
step sanitizer bash -c sanitize
step parity "$python" tools/gpu_day/parity.py "$out/parity.json"
step benchmark "$python" tools/benchmark.py --stages floor ops
step trace "$python" tools/gpu_day/trace.py "$out/trace.json"
step simulate "$python" -m pcdet.simulator --out "$data" --train "$frames" --val 10 --test 0
step infos "$python" -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos --data_path "$data"
step loader "$python" tools/gpu_day/loader.py "$data" "$out/loader.json"
step resume bash -c kill_and_resume
step half bash -c half_precision
step test bash -c test_run
step one_rank bash -c one_rank

"$python" - "$out" <<'END'
import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
summary = {"steps": [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]}
for name in ("parity", "trace", "loader"):
    if (out / f"{name}.json").exists():
        summary[name] = json.loads((out / f"{name}.json").read_text())
(out / "summary.json").write_text(json.dumps(summary, indent=1))
failed = [step["step"] for step in summary["steps"] if step["rc"]]
print(f"{out / 'summary.json'}; failed: {', '.join(failed) or 'none'}")
sys.exit(bool(failed))
END
