"""The benchmark: this package beside its peer, on the same machine, Slurm and data."""
