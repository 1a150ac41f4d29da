"""The progress of a training on the terminal."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


class ProgressBars:
    """Shows a bar of the epochs, and below it one of the batches of the epoch under way.

    Args:
        epoch: finished epochs.
        total_epochs: of the whole training.
        num_batches: of an epoch.
        rank: of this process; rank 0 alone shows them.
    """

    def __init__(self, epoch: int, total_epochs: int, num_batches: int, rank: int):
        self._num_batches = num_batches
        self._style = {"dynamic_ncols": True, "disable": rank != 0}
        self._epochs = tqdm(desc="epochs", initial=epoch, total=total_epochs, **self._style)
        self._batches: tqdm | None = None

    def begin_epoch(self, batches_done: int) -> None:
        """Show a bar of the batches, the first `batches_done` of which are done."""
        self._batches = tqdm(
            desc="train",
            initial=batches_done,
            total=self._num_batches,
            leave=False,
            **self._style,
        )

    def step(self) -> None:
        """Count a batch."""
        self._batches.update()

    def show(self, it: int, loss: float, lr: float, disp_dict: dict[str, Any]) -> None:
        """Show the state after iteration `it`, with what the model wants to be shown."""
        self._batches.set_postfix(loss=f"{loss:.4f}", lr=f"{lr:.2e}", **disp_dict)
        self._epochs.set_postfix(it=it, loss=f"{loss:.4f}", refresh=False)

    def end_epoch(self) -> None:
        """Remove the bar of the batches and count an epoch."""
        self._batches.close()
        self._epochs.update()

    def close(self) -> None:
        """Close both bars."""
        for bar in (self._batches, self._epochs):
            if bar is not None:
                bar.close()
