#!/bin/bash -p
#@head@
# ---
# Runs the job script at the end of this file, and notes beside its dataset that
# it began and how it ended: a Slurm without accounting forgets that in minutes.
# Made by datalad-slurm; what it was submitted as, without the name of sbatch:
# @command@
#
# Above are the comments at the script's head, which hold its options. bash -p
# leaves the user's start-up files and shell options to the script. Names begin
# with dls_, so that no variable of the user's is changed on its way there. This
# shell itself prints nothing into the job's log but what only it can say.
# shellcheck disable=SC2317,SC2329 # some functions are called by traps

declare +x SHELLOPTS
((SHLVL == 1)) || SHLVL=$((SHLVL - 1))
exec {dls_log}>&2 2>/dev/null
# With job control the script starts as Slurm would start it: leading a process
# group of its own, and not ignoring INT and QUIT.
set -m

dls_endings='@endings@'
dls_interpreter=('@interpreter@')
dls_task=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-}}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
dls_received=
dls_whole_group=
dls_signals='HUP INT QUIT USR1 USR2 ALRM TERM CONT URG XCPU XFSZ VTALRM PROF IO PWR'
printf -v dls_start '%(%s)T' -1

# Note, whole or not at all. That it cannot be noted must not harm the job.
dls_note() {
    local dls_file=$dls_endings/$dls_task.${SLURM_RESTART_COUNT:-0}.$1
    shift
    printf '%s\n' "job=${SLURM_JOB_ID:-}" "node=${SLURMD_NODENAME:-$HOSTNAME}" \
        "cluster=${SLURM_CLUSTER_NAME:-}" "start=$dls_start" \
        "limit=${SLURM_JOB_END_TIME:-}" "received=$dls_received" "$@" >"$dls_file.part" &&
        mv -f -- "$dls_file.part" "$dls_file"
}

# A process that any signal to the whole job ends.
dls_start_sentinel() {
    sleep 2147483647 >/dev/null {dls_log}>&- &
    dls_sentinel=$!
}

dls_receive() {
    local dls_now
    printf -v dls_now '%(%s)T' -1
    dls_received+="${dls_received:+ }$1:$dls_now"
    [[ $1 != TERM ]] || dls_note began
}

# Some signals reach every process of the job, others this shell alone, which
# Slurm takes for the script: those are passed on.
dls_pass_on() {
    dls_receive "$1"
    ! dls_heeds "$1" || return
    if [[ -z $dls_sentinel ]]; then
        dls_early+=" $1"
        return
    fi
    sleep 0.1
    if kill -0 "$dls_sentinel"; then
        kill -s "$1" -- "$dls_whole_group$dls_child"
    else
        dls_start_sentinel
    fi
}

dls_run() {
    local dls_place dls_signal dls_pipe dls_job dls_ticks
    dls_before || return
    for dls_place in "${TMPDIR:-/tmp}" /tmp "$dls_endings"; do
        dls_directory=$(mktemp -d -- "$dls_place/slurm-${SLURM_JOB_ID:-}.XXXXXXXX") || continue
        dls_script=$dls_directory/slurm_script
        dls_write_script && chmod 700 "$dls_script" && break
        rm -rf -- "$dls_directory"
        dls_directory=
    done
    if [[ -z $dls_directory ]]; then
        echo "datalad-slurm: no room for the job script in ${TMPDIR:-/tmp}" >&"$dls_log"
        exit 1
    fi
    dls_early=
    dls_has_exited=
    dls_sentinel=
    for dls_signal in $dls_signals; do
        # shellcheck disable=SC2064 # the name is meant as it is now
        trap "dls_pass_on $dls_signal" "$dls_signal"
    done
    (
        [[ ! -v SLURM_TASK_PID ]] || SLURM_TASK_PID=$BASHPID
        dls_enter
        exec 2>&"$dls_log" {dls_log}>&-
        exec "${dls_interpreter[@]}" "$dls_script" "$@"
    ) <&0 &
    dls_child=$!
    dls_start_sentinel
    for dls_signal in $dls_early; do
        kill -s "$dls_signal" "$dls_child"
    done
    # Not with `wait`: of signals that come together, as CONT and TERM do from Slurm,
    # bash drops all but one there, and others while a trap for CHLD runs.
    exec {dls_pipe}<> <(:)
    while kill -0 "$dls_child"; do
        read -r -t 0.2 <&"$dls_pipe"
        (($? > 128)) || sleep 0.2
        dls_tick
    done
    # A shell's exit status does not tell `exit 143` from a death by signal 15; this
    # shell alone, no subshell of it, can list a job that has ended.
    { LC_ALL=C jobs -l; echo; } >&"$dls_pipe"
    dls_ticks=0
    while read -r dls_job <&"$dls_pipe" && [[ -n $dls_job ]]; do
        [[ ! $dls_job =~ \ $dls_child\ +(Exit|Done) ]] || dls_has_exited=yes
        [[ ! $dls_job =~ \ $dls_child\ +(Terminated|Exit 143) ]] || dls_ticks=25
    done
    # On a busy node Slurm's signal reaches the script seconds before this shell.
    while ((dls_ticks--)) && [[ " $dls_received" != *" TERM:"* ]]; do
        read -r -t 0.2 <&"$dls_pipe"
        (($? > 128)) || sleep 0.2
    done
    # No signal can matter to the script any more, and none shall come in between.
    # shellcheck disable=SC2086 # each is a word
    trap '' $dls_signals
    wait "$dls_child"
    dls_status=$?
}

dls_end() {
    local dls_now dls_signal=0 dls_code=$dls_status
    printf -v dls_now '%(%s)T' -1
    if ((dls_status > 128)) && [[ -z $dls_has_exited ]]; then
        dls_signal=$((dls_status - 128))
        dls_code=0
    fi
    dls_note ended "end=$dls_now" "exit_code=$dls_code:$dls_signal"
    kill -KILL "$dls_sentinel"
    rm -rf -- "$dls_directory"
    if ((dls_signal)); then
        ulimit -c 0
        trap - "$dls_signal"
        kill -"$dls_signal" $$
    fi
    exit "$dls_status"
}

# Into a file without the line break that ends the text here.
dls_write_script() {
    head -c '@size@' >"$dls_script" <<'@end@'
@script@
@end@
}

# What more is done around the script; defined anew where there is something to do.
dls_before() { :; }
dls_enter() { :; }
dls_tick() { :; }
dls_heeds() { false; }
dls_after() { :; }
#@parts@
dls_note began
dls_run "$@"
dls_after
dls_end
