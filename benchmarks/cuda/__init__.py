"""The CUDA backend on a GPU: is it right, and how far from what the GPU allows?  `python -m benchmarks.cuda`."""
