"""Deep Image Prior (or any other) warm starts for truncated diffusion chains: networks, sampling, metrics, report."""
