"""Kill a small training at random moments, start it again, compare it with one that ran through.

    python tests/kill_and_resume.py --kills 25

The training saves at every step, and starts with no worker process or with one by turns. Every
second kill comes at any time of the training, the others while a checkpoint is written, between the
writing and the rename, and just after the rename. In the end all checkpoints must be the same, byte
for byte, and so must all curves but those of times.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
# Threads do not live through a fork.
if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

from pcdet.cli import train, training  # noqa: E402
from pcdet.datasets import build_dataloader  # noqa: E402

# isort: split
from command_line import make_workplace, train_arguments  # noqa: E402

ANY, WRITING, BEFORE, AFTER = "any time", "writing", "before the rename", "after the rename"
KINDS = (ANY, WRITING, ANY, BEFORE, ANY, AFTER)


def command(workplace: Path, output: Path, epochs: int, workers: int) -> list[str]:
    saving = ("--ckpt_save_time_interval", "0", "--max_ckpt_save_num", "3", "--precise_bn", "2")
    saving += ("--freeze_bn", str(epochs // 2))
    options = train_arguments(workplace, output, "--epochs", str(epochs), *saving)
    options[options.index("--workers") + 1] = str(workers)
    return options


def start(options: list[str], log: Path, fault: Callable[[], None]) -> int:
    """Train in a child process, which takes over all that is imported and compiled; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # Its workers, too, are killed with it.
        os.setsid()
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        fault()
        train.main(options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_at_rename(count: int, after: bool) -> None:
    """Let this process kill itself at the rename of its `count`-th checkpoint."""
    rename, left = Path.replace, iter(range(count - 1, -1, -1))

    def replace(path: Path, target: Path) -> Path:
        last = str(target).endswith(".pth") and next(left) == 0
        if last and not after:
            os.killpg(0, signal.SIGKILL)
        result = rename(path, target)
        if last:
            os.killpg(0, signal.SIGKILL)
        return result

    Path.replace = replace


def finish(pid: int, kill_now: Callable[[], bool]) -> bool:
    """Wait for a training, and kill it when it is time; whether it ended by itself."""
    while not kill_now():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.WIFSIGNALED(status):
            return False
        if ended and status:
            raise RuntimeError(f"the training failed with status {status}")
        if ended:
            return True
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def kill_once(options: list[str], output: Path, kind: str, moments: random.Random, whole: float):
    """Start a training that is killed unless it ends before; whether it ended."""
    moment = time.monotonic() + moments.uniform(0, whole * (1 if kind == ANY else 0.5))
    count = moments.randint(1, 6)

    def fault() -> None:
        if kind in (BEFORE, AFTER):
            die_at_rename(count, kind == AFTER)

    def kill_now() -> bool:
        if kind in (BEFORE, AFTER) or time.monotonic() < moment:
            return False
        return kind == ANY or any(output.glob("*/*/ckpt/.*.tmp"))

    return finish(start(options, output.with_suffix(".log"), fault), kill_now)


def curves_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Points (step, value) by curve, as TensorBoard shows them, but for curves of times."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.startswith("time/")
    }


def differences(run: Path, other: Path) -> list[str]:
    """What of two finished runs is not the same."""
    names = [sorted(p.name for p in (r / "ckpt").iterdir()) for r in (run, other)]
    if names[0] != names[1]:
        return [f"files: {names[0]} and {names[1]}"]
    found = [
        name
        for name in names[0]
        if (run / "ckpt" / name).read_bytes() != (other / "ckpt" / name).read_bytes()
    ]
    ours, theirs = (curves_in(r / "tensorboard") for r in (run, other))
    return found + [tag for tag in ours.keys() | theirs.keys() if ours.get(tag) != theirs.get(tag)]


def run_through(options: list[str], log: Path) -> None:
    finish(start(options, log, lambda: None), lambda: False)


def kill_and_compare(folder: Path, kills: int, epochs: int, moments: random.Random) -> list[str]:
    """What differs between trainings that are killed so often and one that is not."""
    make_workplace(folder)
    straight = folder / "straight"
    options = command(folder, straight, epochs, 0)
    training.read_config(train.parse_args(options))
    # Compile what numba compiles; the parent must not run a backward pass before it forks.
    next(iter(build_dataloader(folder / "kitti", 2, False, workers=0, seed=0)[1]))
    begun = time.monotonic()
    run_through(options, folder / "straight.log")
    whole = time.monotonic() - begun
    print(f"a training of {epochs} epochs that runs through: {whole:.1f} s", flush=True)

    killed, starts, trainings, wrong = Counter(), 0, 0, []
    while sum(killed.values()) < kills and not wrong:
        trainings += 1
        output = folder / f"killed_{trainings}"
        ended = False
        while not ended:
            starts += 1
            options = command(folder, output, epochs, workers=starts % 2)
            if sum(killed.values()) == kills:
                run_through(options, output.with_suffix(".log"))
                break
            kind = KINDS[sum(killed.values()) % len(KINDS)]
            ended = kill_once(options, output, kind, moments, whole)
            if not ended:
                killed[kind] += 1
                print(f"kill {sum(killed.values())}, {kind}: {describe(output)}", flush=True)
        wrong = differences(straight / "small" / "default", output / "small" / "default")
    told = ", ".join(f"{count} {kind}" for kind, count in killed.items())
    print(f"{sum(killed.values())} kills ({told}); {trainings} trainings ended")
    return wrong


def describe(output: Path) -> str:
    names = sorted(p.name for p in output.glob("*/*/ckpt/*"))
    return ", ".join(names) or "no file yet"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, default=25, help="(default: 25)")
    add("--epochs", type=int, default=6, help="of each training, two steps each (default: 6)")
    add("--seed", type=int, default=0, help="of the moments (default: 0)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        wrong = kill_and_compare(Path(folder), args.kills, args.epochs, random.Random(args.seed))
    print(f"different: {', '.join(wrong)}" if wrong else "all are equal, byte for byte")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
