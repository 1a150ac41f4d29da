"""What release.py does: keep of a checkpoint what a test needs, and tell where it comes from."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pcdet
from pcdet.inference.network import load_network
from pcdet.run.record import RunRecord, file_identity, sha256_of
from pcdet.run.resume import plain_config
from pcdet.utils import log_utils
from pcdet.utils.checkpoint_utils import AVERAGED, save_checkpoint
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.run_starts import trained_start

_DIGITS = 8  # of the sha256 in the name


def release(args: argparse.Namespace) -> Path:
    """Write the file for testing, and the one with its sha256; return the first."""
    logger = log_utils.create_logger()
    (model, _, config), checkpoint = load_network(args.ckpt, args.cfg_file, logger=logger)
    identity = file_identity(args.ckpt)
    record = RunRecord(args.ckpt.resolve().parent.parent, logger, writes=False).read()
    released = {
        "model_state": model.state_dict(),
        "config": plain_config(config),
        "class_names": list(config.CLASS_NAMES),
        "averaged": AVERAGED in checkpoint,
        "epoch": checkpoint.get("epoch"),
        "seed": checkpoint.get("seed"),
        "ap": _ap(record, identity),
        "git": (trained_start(record) or {}).get("git"),
        "source": identity,
        "version": {"pcdet": pcdet.__version__},
    }
    if not released["ap"]:
        logger.warning(
            "%s: run.json, which keeps the best test of each split alone, holds none of this "
            "checkpoint, so the file tells of no AP",
            args.ckpt,
        )
    if not released["git"]:
        logger.warning(
            "%s: no run.json tells the revision of the source that it was trained with, so the "
            "file tells of none",
            args.ckpt,
        )
    return _write(released, args.out, args.name or config.get("TAG") or args.ckpt.stem, logger)


def _write(released: dict[str, Any], folder: Path, name: str, logger: Any) -> Path:
    """Write it, read it again, and give it a name that ends with its sha256."""
    folder = (folder / name).parent
    folder.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: a file of this name may be there, the checkpoint itself for one.
    with TemporaryDirectory(prefix=".release_", dir=folder) as apart:
        written = Path(apart) / f"{Path(name).name}.pth"
        save_checkpoint(released, written)
        load_network(written, released["config"], logger=logger)
        digest = sha256_of(written)
        path = written.replace(folder / f"{written.stem}_{digest[:_DIGITS]}.pth")
    with atomic_write(path.with_name(f"{path.name}.sha256")) as file:
        file.write(f"{digest}  {path.name}\n".encode())
    logger.info("%s: %.1f MB, sha256 %s", path, path.stat().st_size / 1e6, digest)
    return path


def _ap(record: dict[str, Any], identity: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Numbers of the checkpoint's tests by split, as far as the run's record holds them."""
    return {
        split: best["results"]
        for split, best in record["best"].items()
        if best["checkpoint"]["sha256"] == identity["sha256"]
    }
