"""What travels with the job to the compute node, and what it notes there.

`runner.bash` is the template of the batch script that is submitted in place of
the user's; `runner` fills it in; `wrap` is called by our sbatch to do so;
`endings` reads what runners have noted. Nothing here imports more than the
standard library and the pure `jobs`, so that `wrap` starts fast.
"""
