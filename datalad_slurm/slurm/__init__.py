"""Everything that talks to Slurm: one module a program."""
