#!/usr/bin/env bash
# Campaigns: by GNU parallel and by what the job arrays of examples/campaign say, the shards of a run come to what the whole run
# comes to; a shard that is missing, cut or of another campaign is refused.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'campaign: %s\n' "$*" >&2; exit 1; }

install() { apt-get install -qq -y --no-install-recommends parallel jq python3-yaml > /dev/null; }
if ! { command -v parallel && command -v jq && python3 -c 'import yaml'; } > /dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || fail "GNU parallel, jq or PyYAML is missing; as root: apt-get install parallel jq python3-yaml"
    export DEBIAN_FRONTEND=noninteractive
    install || { apt-get update -qq; install; }
fi

cargo build --quiet --release
export PATH="${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH"
out="$PWD/target/campaign"
rm -rf "$out"
mkdir -p "$out"

# A result without what depends on how fast it went, and on how many boots it took.
plain() { jq -S 'walk(if type == "object" then with_entries(select(.key | test("second|^boots$|^unsteady$|^saved$") | not)) else . end)' "$1"; }
# `same NAME COMMAND...`: the merged shards in target/campaign/NAME are the run of the command.
same() {
    local name=$1
    shift
    pvmmu merge "$out/$name"/*.json --save "$out/$name/divergences" --format json > "$out/$name.merged" || [ $? = 1 ]
    pvmmu "$@" --format json > "$out/$name.whole" || [ $? = 1 ]
    diff <(plain "$out/$name.whole") <(plain "$out/$name.merged") || fail "$name: shards and whole differ"
    echo "campaign: $name: $(ls "$out/$name"/*.json | wc -l) shards are the whole"
}
# `refused TEXT FILE...`: these are not merged, and that is why.
refused() {
    local text=$1 said status=0
    shift
    said=$(pvmmu merge "$@" 2>&1) || status=$?
    [ "$status" = 2 ] && grep -qF -- "$text" <<< "$said" || fail "merging $* ends with $status, not 2 and '$text': $said"
}

# By GNU parallel, on processors of this machine.
explore=(explore S60 --cut --deviations 1)
examples/campaign/parallel.sh 4 "$out/explore" "${explore[@]}" > "$out/explore.text"
same explore "${explore[@]}"
status=0
examples/campaign/parallel.sh 2 "$out/found" explore B13a --policy all > "$out/found.text" || status=$?
[ "$status" = 1 ] && grep -q 'schedule 3.p1' "$out/found.text" || fail "the fault of B13a is not what the campaign ends with, but $status"
status=0
examples/campaign/parallel.sh 2 "$out/none" explore S999 > /dev/null 2>&1 || status=$?
[ "$status" = 2 ] || fail "a campaign of nothing ends with $status"
mkdir "$out/spoilt"
cp "$out/explore"/*.json "$out/spoilt"
jq '.scenarios[1].states += 1' "$out/explore/2.json" > "$out/spoilt/2.json"
! (same spoilt "${explore[@]}") > /dev/null 2>&1 || fail "a state too many in one shard is not seen"
mv "$out/explore/3.json" "$out/third"
refused "missing 3/4" "$out/explore"/*.json
head -c 2000 "$out/third" > "$out/cut"
refused "is not the whole of a result" "$out/explore"/*.json "$out/cut"
refused "are both shard 1/4" "$out/explore"/*.json "$out/explore/1.json"
pvmmu explore S60 --cut --deviations 0 --shard 3/4 --format json > "$out/other"
refused "--deviations is 0 there and 1 here" "$out/explore"/*.json "$out/other"

# As the documentation says it, with fewer deviations.
documented=$(sed -n 's/^\$ \(pvmmu [^#]*\).*/\1/p' docs/campaigns.md | sed 's/--deviations 4/--deviations 0/')
[ "$(grep -c . <<< "$documented")" = 3 ] || fail "docs/campaigns.md has not the three commands that are tried here: $documented"
(cd "$out" && bash -e <<< "$documented" | grep -q '^61 explored, 0 found wrong') || fail "the commands of docs/campaigns.md come to something else"

# As a job array of Slurm, whose variables are set here.
slurm=(explore B13a --policy all)
mkdir "$out/slurm"
for index in 1 2 3; do
    (cd "$out/slurm" && SLURM_ARRAY_TASK_ID=$index SLURM_ARRAY_TASK_COUNT=3 "$OLDPWD/examples/campaign/slurm.sh" "${slurm[@]}")
done
mv "$out"/slurm/campaign/*.json "$out/slurm"
same slurm "${slurm[@]}"

# As an indexed job of Kubernetes: its own command, with its own variables.
mkdir "$out/kubernetes"
python3 - examples/campaign/kubernetes.yaml "$out/kubernetes" "explore S29 --policy all" << 'END'
import os, subprocess, sys, yaml
spec = yaml.safe_load(open(sys.argv[1]))["spec"]
[container] = spec["template"]["spec"]["containers"]
env = {each["name"]: each["value"] for each in container["env"]} | {"FOLDER": sys.argv[2], "COMMAND": sys.argv[3]}
assert spec["completionMode"] == "Indexed" and env["SHARDS"] == str(spec["completions"]), "SHARDS is not `completions`"
for index in range(spec["completions"]):
    here = os.environ | env | {"JOB_COMPLETION_INDEX": str(index)}
    subprocess.run(container["command"] + container["args"], env=here, check=True)
END
same kubernetes explore S29 --policy all

# What fuzzing has kept and found: what libFuzzer leaves, made up.
export FUZZ_WORK="$out/fuzz"
mkdir -p "$FUZZ_WORK"/{1,2}-of-2/{corpus,found}/native
touch "$FUZZ_WORK"/1-of-2/{ended,corpus/native/one} "$FUZZ_WORK"/2-of-2/corpus/native/{one,two}
for bad in "--merge 2" "--merge x" "5 --shard 3/2" "5 --shard 0/2"; do
    status=0
    # The words of an option, apart.
    # shellcheck disable=SC2086
    ci/fuzz.sh $bad > "$out/fuzz.text" 2>&1 || status=$?
    [ "$status" = 2 ] || fail "ci/fuzz.sh $bad ends with $status: $(cat "$out/fuzz.text")"
done
touch "$FUZZ_WORK/2-of-2/ended"
ci/fuzz.sh --merge 2 || fail "two shards that found nothing end with $?"
[ "$(ls "$FUZZ_WORK/corpus/native")" = "$(printf 'one\ntwo')" ] || fail "the corpora of two shards are not united"
touch "$FUZZ_WORK/2-of-2/found/native/crash-1"
! ci/fuzz.sh --merge 2 > "$out/fuzz.text" || fail "a finding of a shard is lost"
grep -q 'native/crash-1' "$out/fuzz.text" || fail "a finding of a shard is not named"
echo "campaign: fuzz: 2 shards united, and a finding kept"

# Against real Xen.
conform=(conform --ops 6000 --seed 7 --preempt step --save "$out/divergences")
status=0
pvmmu "${conform[@]}" --shard 1/2 --format json > "$out/probe" || status=$?
if [ "$status" = 2 ]; then
    [ -z "${CI:-}" ] || fail "there is no real Xen to share a comparison out on"
    printf '\n!! SKIPPED: comparisons with real Xen were NOT shared out, see above\n\n' >&2
    exit 0
fi
examples/campaign/parallel.sh 2 "$out/conform" "${conform[@]}" > "$out/conform.text"
same conform "${conform[@]}"
examples/campaign/parallel.sh 2 "$out/cases" conform --cases > "$out/cases.text"
same cases conform --cases
