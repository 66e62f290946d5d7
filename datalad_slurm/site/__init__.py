"""The archive of a site: what watches slurmctld's spool, and what keeps the jobs' files."""
