"""How fast, and how far from what the hardware allows?  `python -m benchmarks.compare`, or `pytest benchmarks`."""

import os

# Every peer runs on one thread. Has to be set before NumPy is imported: an idle BLAS thread spins on another's core.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
