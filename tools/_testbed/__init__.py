"""A real Slurm on one machine: munge, MariaDB, slurmdbd, slurmctld, several slurmd."""
