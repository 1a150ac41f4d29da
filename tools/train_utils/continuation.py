"""The earlier name of `pcdet.run.resume`, for scripts that write checkpoints of their own."""

from pcdet.run.resume import stored_entries

__all__ = ["stored_entries"]
