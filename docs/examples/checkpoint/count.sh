#!/bin/bash
# Adds up the numbers from 1 to $1, one every $2 seconds, and writes the sum to $3. With
# `datalad slurm-schedule --checkpoint state` it goes on where it was interrupted.
set -eu

state=$3.state
number=0 sum=0
[[ ! -e $state ]] || read -r number sum <"$state"
echo "from $number"

# A rename replaces the state at once: there is a whole one at any time.
save() {
    echo "$number $sum" >"$state.new"
    mv "$state.new" "$state"
}
is_wanted='' is_over=''
trap 'is_wanted=yes' USR1 # a checkpoint
trap 'is_over=yes' TERM   # the time is over

while ((number < $1)); do
    sleep "$2" || true # traps wait for it, and SIGTERM ends it
    number=$((number + 1))
    sum=$((sum + number))
    [[ -z $is_wanted$is_over ]] || save
    [[ -z $is_over ]] || exit 0
    is_wanted=
done
echo "$sum" >"$3"
