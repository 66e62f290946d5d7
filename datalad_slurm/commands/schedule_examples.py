"""Examples in the documentation of `slurm-schedule`."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: list[dict[str, str]] = [
    {
        "text": "Schedule a job script that writes into the directory 'out'",
        "code_py": "slurm_schedule(['sbatch', 'job.sh'], outputs=['out'])",
        "code_cmd": "datalad slurm-schedule -o out/ sbatch job.sh",
    },
    {
        "text": "Schedule an array of jobs, with an input that is retrieved first",
        "code_py": (
            "slurm_schedule('sbatch --array=1-10 job.sh', inputs=['data.csv'], outputs=['sub'])"
        ),
        "code_cmd": "datalad slurm-schedule -i data.csv -o sub sbatch --array=1-10 job.sh",
    },
    {
        "text": "Schedule an array whose tasks have outputs of their own",
        "code_py": "slurm_schedule('sbatch --array=1-100 job.sh', outputs=['sub-%3a'])",
        "code_cmd": "datalad slurm-schedule -o sub-%3a sbatch --array=1-100 job.sh",
    },
    {
        "text": "Schedule a job of whose files only some are to be kept, whatever their names",
        "code_py": "slurm_schedule('sbatch job.sh', outputs=['out/*.csv', 'sub-*/stats/**'])",
        "code_cmd": ("datalad slurm-schedule -o 'out/*.csv' -o 'sub-*/stats/**' sbatch job.sh"),
    },
    {
        "text": "Schedule a command without a script",
        "code_py": "slurm_schedule('sbatch --wrap \"hostname > host\"', outputs='host')",
        "code_cmd": "datalad slurm-schedule -o host sbatch --wrap 'hostname > host'",
    },
    {
        "text": "Run a job on a parallel file system, while the dataset lies elsewhere",
        "code_py": (
            "slurm_schedule('sbatch job.sh', inputs=['data.csv'], outputs=['out'], "
            "alt_dir='/scratch/me/run')"
        ),
        "code_cmd": ("datalad slurm-schedule -a /scratch/me/run -i data.csv -o out sbatch job.sh"),
    },
    {
        "text": "Schedule one job for each row of a table with columns 'subject' and 'dose'",
        "code_py": (
            "slurm_schedule(['sbatch', 'job.sh', '{subject}', '{dose}'], "
            "outputs=['out/{subject}'], table='params.tsv')"
        ),
        "code_cmd": (
            "datalad slurm-schedule --table params.tsv -o 'out/{subject}' "
            "sbatch job.sh {subject} {dose}"
        ),
    },
    {
        "text": "See what would be submitted",
        "code_py": (
            "slurm_schedule('sbatch job.sh {inputs}', inputs=['*.csv'], outputs=['out'], "
            "dry_run='basic')"
        ),
        "code_cmd": (
            "datalad slurm-schedule --dry-run basic -i '*.csv' -o out sbatch job.sh '{inputs}'"
        ),
    },
]
