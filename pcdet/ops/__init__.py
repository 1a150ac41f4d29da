"""Native operators, on the CPU and CUDA from the same code; they know nothing of the rest."""
