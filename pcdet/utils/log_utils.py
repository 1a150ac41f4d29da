"""The logger of the program, and the line that describes the machine."""

from __future__ import annotations

import logging
import os
import socket

import torch


def create_logger(log_file: str | os.PathLike | None = None, rank: int = 0) -> logging.Logger:
    """Make a logger to the terminal and to `log_file`; ranks other than 0 report errors only."""
    logger = logging.getLogger("pcdet")
    logger.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None and rank == 0:
        handlers.append(logging.FileHandler(log_file))
    formatter = logging.Formatter("%(asctime)s  %(levelname)5s  %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger


def machine_line() -> str:
    """Describe the machine in one line, for logs and benchmarks."""
    devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return (
        f"{socket.gethostname()}: {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, GPUs: {', '.join(devices) or 'none'}"
    )
