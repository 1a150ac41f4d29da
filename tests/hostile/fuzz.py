"""The long run of the fuzz tests, `make fuzz`.

    python tests/hostile/fuzz.py --examples 2000

Each kind of file is read in a process of its own, with little memory to spare, so that a crash or a
claim of memory is seen. Prints how many damaged files were read and how many were refused by name;
ends with 1 and the damaged file's place if a reader crashed or raised anything else.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from hostile.kinds import KINDS, data_folder, outcome  # noqa: E402 (after the path to it)
from hostile.mutations import Mutation, mutate, mutations_for  # noqa: E402

_MEMORY = 4 << 30  # address space that a reader may take beyond what the process has


def draw(rng: np.random.Generator, form: str) -> list[Mutation]:
    """One to three mutations."""
    names = list(mutations_for(form))
    return [
        (names[rng.integers(len(names))], float(rng.random()), int(rng.integers(1 << 20)))
        for _ in range(rng.integers(1, 4))
    ]


def fuzz_kind(name: str, examples: int, seed: int, last_input: Path) -> Counter:
    """Read `examples` damaged files of a kind; `last_input` holds the one being read."""
    kind, rng = KINDS[name], np.random.default_rng((seed, list(KINDS).index(name)))
    good = (data_folder() / kind.path).read_bytes()
    counts: Counter = Counter()
    for _ in range(examples):
        content = mutate(good, kind.form, draw(rng, kind.form))
        last_input.write_bytes(content)
        counts[outcome(kind, content)] += 1
    return counts


def _child(name: str, args: argparse.Namespace, pipe: int, last_input: Path) -> None:
    """Never returns."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        counts = fuzz_kind(name, args.examples, args.seed, last_input)
        os.write(pipe, f"{counts['right']} {counts['refused']}".encode())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def fuzz_apart(name: str, args: argparse.Namespace) -> bool:
    """Fuzz a kind in a process of its own and print a line; whether it came through."""
    last_input = args.keep / f"{name}.input"
    begun = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(name, args, writer, last_input)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read().split()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code or len(told) != 2:
        print(f"{name:15s} FAILED with {code}; the file was {last_input}", flush=True)
        return False
    right, refused = map(int, told)
    seconds = time.monotonic() - begun
    print(f"{name:15s} {right + refused:7d} {right:7d} {refused:8d} {seconds:8.1f}", flush=True)
    last_input.unlink(missing_ok=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--examples", type=int, default=2000, help="damaged files of each kind")
    add("--seed", type=int, default=0, help="decides the damage")
    add("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="default: all")
    add("--keep", type=Path, default=Path("output/fuzz"), help="where a file that failed is kept")
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    data_folder()  # before the forks, which then share it
    print(f"{'kind':15s} {'files':>7s} {'right':>7s} {'refused':>8s} {'seconds':>8s}")
    passed = [fuzz_apart(name, args) for name in args.kinds]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
