"""The libraries that the package requires, all but torch: there, and new enough."""

from __future__ import annotations

import importlib
import re
from importlib import metadata

from pcdet.doctor.findings import Finding
from pcdet.utils.paths import repository

# Where the name to import is another one.
_MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "tensorboardx": "tensorboardX",
}
_INSTALL = "run `pip install -r requirements.txt` in the repository"


def requirements() -> dict[str, tuple[int, ...]]:
    """Names of the required distributions, and the least version of each, () for any.

    The list is that of the repository, as the metadata of an editable installation are as old as
    the installation; else that of the metadata. It is empty if there is neither. What is optional,
    or only some versions of Python require, is left out.
    """
    root = repository()
    try:
        if root is not None:
            lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
        else:
            lines = metadata.requires("pcdet") or []
    except (OSError, metadata.PackageNotFoundError):
        return {}
    found = {}
    for line in lines:
        name = re.match(r"[A-Za-z0-9][\w.-]*", line)
        if name is not None and ";" not in line:
            least = re.search(r">=\s*([\d.]+)", line)
            found[name.group()] = version_numbers(least.group(1)) if least else ()
    return found


def version_numbers(version: str) -> tuple[int, ...]:
    """(2, 4) of "2.4.1+cpu": what versions are compared by."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def examine_libraries() -> list[Finding]:
    """All required libraries but torch, which is examined on its own."""
    wanted = requirements()
    if not wanted:
        advice = (
            "what pcdet requires is not known, as it is neither installed nor in its repository: "
            "run `pip install --no-build-isolation .` in the repository"
        )
        return [Finding("libraries", "not examined", advice)]
    return [_library(name, least) for name, least in wanted.items() if name != "torch"]


def _library(name: str, least: tuple[int, ...]) -> Finding:
    try:
        module = importlib.import_module(_MODULES.get(name.lower(), name.replace("-", "_")))
    except Exception as error:  # a broken one raises whatever it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = f"{name} cannot be imported ({reason}): {_INSTALL}"
        return Finding(name, "cannot be imported", advice, broken=True)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = str(getattr(module, "__version__", ""))
    finding = Finding(name, version or "there, of an unknown version")
    if version and version_numbers(version) < least:
        oldest = ".".join(map(str, least))
        finding.advice, finding.broken = f"{name} {oldest} or later is needed: {_INSTALL}", True
    return finding
