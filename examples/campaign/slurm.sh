#!/usr/bin/env bash
#SBATCH --job-name=pvmmu
#SBATCH --array=1-16
# A campaign as a Slurm job array, counted from 1; needs `pvmmu` in PATH of every node. docs/campaigns.md.
#
#   sbatch slurm.sh                               every program of S60, in 16 shards
#   sbatch --array=1-8 slurm.sh explore --all     anything else that can be shared out
#   pvmmu merge campaign/*.json                   once the array is through
set -euo pipefail
[ $# -gt 0 ] || set -- explore S60 --operations 4 --deviations 2 --cut
mkdir -p campaign
pvmmu "$@" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --format json > "campaign/$SLURM_ARRAY_TASK_ID.json" ||
    [ $? = 1 ] # a finding, which the merged result tells of again
