"""How a run survives: session, lock, record, resume, signals, curves; it observes the engine."""
