#!/bin/bash
#SBATCH --job-name=summary
#SBATCH --ntasks=1
#SBATCH --mem=200M
#SBATCH --time=00:05:00
#SBATCH --output=logs/summary-%j.out

set -eu
python summary.py runs results
