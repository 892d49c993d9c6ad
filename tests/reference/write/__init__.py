"""A writer of random handovers, valid as kernels of some version make them."""
