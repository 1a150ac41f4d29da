"""Ctrl-C and SIGTERM: a request to save and leave, and at the second time an order to leave."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch

_NOTICE = "\n{}: saving a checkpoint, then leaving; once more{} to leave at once, without one\n"


class StopRequest:
    """Notes the first SIGINT or SIGTERM, while entered, instead of letting it end the process.

    The second one raises SystemExit wherever the program is.

    Args:
        grace: seconds after the first signal in which others count as the same one. torchrun
            passes on a Ctrl-C that the terminal has sent to its processes already.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self.number: int | None = None
        self._grace = grace
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """The exit code that a shell expects of a process that a signal ended."""
        return 128 + (self.number or 0)

    def agreed(self, device: torch.device, distributed: bool) -> bool:
        """Whether to stop now; with several processes, whether a signal came to any of them.

        They must ask this at the same step, as all wait for each other here, and so stop together.
        """
        if not distributed:
            return self.number is not None
        number = torch.tensor(self.number or 0, device=device)
        torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX)
        if number.item():
            self.number = self.number or int(number)
            self.restart_grace()
        return self.number is not None

    def restart_grace(self) -> None:
        """Count the seconds of grace from now: a launcher ends the others when one has left."""
        self._since = time.monotonic()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            if time.monotonic() - self._since < self._grace:
                return
            raise SystemExit(128 + number)
        self.number, self._since = number, time.monotonic()
        # Not the logger: the signal may have come while it holds its stream.
        later = f" after {self._grace:.0f} seconds" if self._grace else ""
        os.write(2, _NOTICE.format(signal.Signals(number).name, later).encode())
