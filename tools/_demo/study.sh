#!/bin/bash
#SBATCH --job-name=ising
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --mem=200M
#SBATCH --time=00:10:00
#SBATCH --output=logs/ising-%A_%a.out

# One task of the array, one temperature: the line of the list with its number.
set -eu
temperature=$(sed -n "${SLURM_ARRAY_TASK_ID}p" temperatures.txt)
python ising.py --temperature "$temperature" --output "runs/T$temperature.npz"
