"""How a detector learns and is scored, without anything that keeps a run alive."""
