"""Benchmarks of compressed keyword spotters: data, training, measures, tables, figures, command line."""

import os

# Threads that wait for each other in an operation spin. By default they spin so long that on a machine with
# other work a training with two threads stands almost still; docs/architecture.md has the figures. Read when
# torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# On Apple's devices an operation that torch has no kernel for runs on the CPU instead of ending the run. Read
# when torch is first imported, too.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
