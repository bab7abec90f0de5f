#!/usr/bin/env bash
# A campaign on this machine by GNU parallel, a shard for each processor at a time, and what all of it came to.
# Needs `pvmmu` in PATH; docs/campaigns.md.
#
#   parallel.sh SHARDS FOLDER COMMAND...       such as    parallel.sh 16 found explore --all --deviations 4
set -euo pipefail
shards=$1 folder=$2
shift 2
mkdir -p "$folder"
printf -v command '%q ' pvmmu "$@" --format json --shard
printf -v quoted '%q' "$folder"
# Exit status 1 is a finding, which the merged result tells of again; a shard that could not run ends the campaign.
seq "$shards" | parallel --halt now,fail=1 "$command {}/$shards > $quoted/{}.json || [ \$? = 1 ]" || exit 2
mapfile -t files < <(seq -f "$folder/%.0f.json" "$shards")
pvmmu merge --save "$folder/divergences" "${files[@]}"
