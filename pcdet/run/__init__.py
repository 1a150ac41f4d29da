"""How a run survives: lock, record, checkpoints, signals, curves; it observes the engine."""
