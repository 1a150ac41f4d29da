"""The state of an installation: what is there, what is amiss, and what to do about it.

    python -m pcdet.doctor [--data_path data/kitti] [--cfg_file tools/cfgs/second.yaml]

The data folder may have KITTI's layout or that of docs/own_data.md.

Prints one line for each part, and at the end one line of advice for each thing amiss. The exit code
is 1 if something is broken, so that nothing runs or the data cannot be used; 0 if all is well or
could merely be better (a GPU that is not used, say). A data folder that is not there counts as
broken only if it was named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pcdet.doctor.data_folder import examine_data
from pcdet.doctor.findings import Finding, ask
from pcdet.doctor.labelled_frames import data_config_of, examine_labelled_frames, settings_of
from pcdet.doctor.libraries import examine_libraries
from pcdet.doctor.own_data import examine_own_data, is_own_data
from pcdet.doctor.software import (
    examine_extensions,
    examine_python,
    examine_sparse_conv,
    examine_threads,
    examine_toolkit,
    examine_torch,
)
from pcdet.utils.errors import PcdetError
from pcdet.utils.paths import root_dir

_PARTS = {
    "python": examine_python,
    "torch": examine_torch,
    "CUDA toolkit": examine_toolkit,
    "operators": examine_extensions,
    "sparse layers": examine_sparse_conv,
    "libraries": examine_libraries,
    "OpenMP": examine_threads,
}


def default_data_path(cfg_file: str | None = None) -> Path:
    """DATA_DIR of a yaml, else data/kitti; below `root_dir()`."""
    try:
        if cfg_file is not None:
            return root_dir() / data_config_of(cfg_file).DATA_DIR
    except PcdetError:  # of the yaml
        raise
    except Exception:  # of an installation, which the parts tell of
        pass
    return root_dir() / "data" / "kitti"


def examine(data_path: Path | None, cfg_file: str | None = None) -> list[Finding]:
    """All findings.

    Args:
        data_path: the data folder; None for the yaml's or KITTI's, which need not be there.
        cfg_file: a yaml whose range and points the data are compared with.
    """
    usual = default_data_path(cfg_file)
    root = usual if data_path is None else data_path
    parts = dict(_PARTS)
    try:
        own_data = is_own_data(root)
    except OSError:  # the parts below meet it again, and tell it
        own_data = False
    if own_data:
        parts["data folder"] = partial(examine_own_data, root, partial(settings_of, cfg_file))
    else:
        parts["data folder"] = partial(examine_data, root, data_path is not None)
        parts["labelled frames"] = partial(examine_labelled_frames, root, cfg_file)
    return [finding for name, part in parts.items() for finding in ask(name, part)]


def report(findings: Sequence[Finding]) -> str:
    """The text for a terminal; a line with an advice is marked by !."""
    width = max(len(finding.name) for finding in findings) + 2
    lines = [f"{'!' if f.advice else ' '} {f.name:{width}}{f.state}" for f in findings]
    advice = [f"- {finding.advice}" for finding in findings if finding.advice]
    lines += ["", "advice:", *advice] if advice else ["", "nothing is amiss"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pcdet.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data_path",
        type=Path,
        help=f"the data folder; if not given, the yaml's, or {default_data_path()}",
    )
    parser.add_argument("--cfg_file", help="a yaml, whose POINT_CLOUD_RANGE the data should fit")
    args = parser.parse_args(argv)
    try:
        findings = examine(args.data_path, args.cfg_file)
    except PcdetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by the user\n")
        return 130
    sys.stdout.write(f"{report(findings)}\n")
    return int(any(finding.broken for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
