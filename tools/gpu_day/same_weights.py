"""Whether two checkpoints hold the same weights, bit for bit: same_weights.py ONE OTHER."""

from __future__ import annotations

import sys

import torch

from pcdet.utils.checkpoint_utils import load_checkpoint


def main(one: str, other: str) -> int:
    """Exit code 1 if a weight differs."""
    first, second = (load_checkpoint(name)["model_state"] for name in (one, other))
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    sys.stdout.write(f"{len(first)} entries, {len(differing)} differ {differing[:5]}\n")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
