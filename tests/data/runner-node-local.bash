#!/bin/bash -p
#SBATCH --time=5
# ---
# Runs the job script at the end of this file, and notes beside its dataset that
# it began and how it ended: a Slurm without accounting forgets that in minutes.
# Made by datalad-slurm; what it was submitted as, without the name of sbatch:
# sbatch ["-n1", "job.py", "a b"]
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

dls_endings=/ds/.git/datalad-slurm/endings/token
dls_interpreter=(/usr/bin/env python3)
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
    head -c 52 >"$dls_script" <<'END_OF_THE_JOB_SCRIPT'
#!/usr/bin/env python3
#SBATCH --time=5

print('x')
END_OF_THE_JOB_SCRIPT
}

# What more is done around the script; defined anew where there is something to do.
dls_before() { :; }
dls_enter() { :; }
dls_tick() { :; }
dls_heeds() { false; }
dls_after() { :; }
# shellcheck shell=bash disable=SC2154,SC2034 # a part of runner.bash
# What is done around the work, in its order. Each part that follows defines anew what it
# does of it.

dls_store=/ds/.git/datalad-slurm/stores/token
dls_is_at_work=
dls_must_keep=

dls_say() {
    printf 'datalad-slurm: %s\n' "$1" >&"$dls_log"
}

dls_clock() {
    printf -v "$1" '%(%s)T' -1
}

# The job has failed before its work begins.
dls_refuse() {
    dls_say "$1; the job's work was not begun"
    dls_status=1
    return 1
}

# Signals to the whole job are none of its business.
dls_undisturbed() {
    # shellcheck disable=SC2086 # each is a word
    (trap '' $dls_signals; "$@")
}

# Return 143 when the job was told to end meanwhile.
dls_unpack() {
    local dls_tar dls_code dls_stopped=
    tar --extract --no-same-owner --file=- -C "$2" <"$1" >&"$dls_log" 2>&1 &
    dls_tar=$!
    # shellcheck disable=SC2064 # the process is meant as it is now
    trap "dls_stopped=yes; dls_receive TERM; kill $dls_tar" TERM
    while wait "$dls_tar"; dls_code=$?; kill -0 "$dls_tar"; do :; done
    trap - TERM
    [[ -z $dls_stopped ]] || dls_code=143
    return "$dls_code"
}

dls_stage_in() { :; }
dls_restore() { :; }
dls_ask() { :; }
dls_watch() { :; }
dls_tell() { kill -TERM -- "-$dls_child"; }
dls_keep_last() { :; }
dls_stage_out() { :; }
dls_remove() { :; }

dls_before() {
    local PATH=$PATH:/usr/bin:/bin
    if dls_stage_in && dls_restore; then
        dls_is_at_work=yes
        return
    fi
    dls_remove
    return 1
}

dls_after() {
    local PATH=$PATH:/usr/bin:/bin dls_over=
    [[ -n $dls_is_at_work ]] || return
    [[ -z $dls_must_keep ]] || dls_settle
    trap 'dls_receive TERM; dls_over=yes' TERM
    dls_keep_last
    dls_stage_out
    [[ $dls_cut != limit ]] || dls_await_limit
    trap '' TERM
}

# shellcheck shell=bash disable=SC2154,SC2034,SC2041 # a part of runner.bash
# With --node-local the work runs in a directory of the node: its inputs come out of
# one archive, and what it leaves at its outputs goes back as one.

dls_inputs=/ds/.git/datalad-slurm/stores/token/token.inputs.tar
dls_needed=123
dls_may_compress=yes
dls_pwd=sub
dls_variables=(USER)
dls_node=
dls_must_keep=yes

dls_remove() {
    cd /
    [[ -z $dls_node ]] || rm -rf -- "$dls_node"
    dls_node=
}

dls_choose_place() {
    local dls_name
    for dls_name in "${dls_variables[@]}"; do
        [[ -v $dls_name ]] ||
            dls_refuse "--node-local-dir names \$$dls_name, which is not set on $HOSTNAME" || return
    done
    dls_places=(/scratch/"${USER}"/x)
    for dls_place in "${dls_places[@]}"; do
        [[ -n $dls_place ]] && dls_node=$(mktemp -d -- "$dls_place/datalad-slurm-$dls_task.XXXXXXXX") &&
            return
    done
    dls_node=
    dls_refuse "no directory can be made in $dls_place on $HOSTNAME: it is not there, or cannot be \
written to; choose another place with --node-local-dir"
}

dls_stage_in() {
    local dls_place dls_places dls_free dls_code
    : >"$dls_store/$dls_task.${SLURM_RESTART_COUNT:-0}.begun"
    if ((${SLURM_JOB_NUM_NODES:-1} > 1)); then
        dls_refuse "--node-local is for jobs on one node, and this one has $SLURM_JOB_NUM_NODES: \
ask for --nodes=1"
        return
    fi
    dls_choose_place || return
    { read -r && read -r dls_free; } < <(df -k --output=avail -- "$dls_node")
    if [[ $dls_free =~ ^\ *[0-9]+$ ]] && ((dls_free < dls_needed)); then
        dls_refuse "the inputs need $((dls_needed / 1024)) MiB, and $dls_place on $HOSTNAME has \
$((dls_free / 1024)) MiB free; choose another place with --node-local-dir, or a node by --tmp"
        return
    fi
    dls_unpack "$dls_inputs" "$dls_node"
    dls_code=$?
    if ((dls_code == 143)); then
        dls_status=143
        return 1
    elif ((dls_code)) || [[ ! -e $dls_node/inputs ]]; then # it is the last one in the archive
        dls_refuse "the inputs could not be unpacked in $dls_place on $HOSTNAME from $dls_inputs"
        return
    fi
    mkdir -p -- "$dls_node/tree/$dls_pwd"
    # What has a later change time than this one is the work's; clocks of file systems tick slowly.
    : >"$dls_node/unpacked"
    sleep 0.05
}

dls_enter() {
    local dls_had_one=${OLDPWD+yes}
    cd -- "$dls_node/tree/$dls_pwd" || exit 1
    [[ -n $dls_had_one ]] || unset OLDPWD
}

# Every file and link at the outputs, but for inputs that are as they were.
dls_list() {
    local LC_ALL=C dls_path dls_entry
    local -a dls_tops=()
    local -A dls_known=()
    cd -- "$dls_node/tree" || return
    shopt -s globstar dotglob nullglob
    for dls_path in ./out ./'it'"'"'s'/*.cs* ./sub-*/**; do
        dls_has_link_above "$dls_path" || dls_tops+=("$dls_path")
    done
    : >../removed
    while IFS= read -r -d '' dls_path; do
        dls_known[./$dls_path]=yes
        [[ -e $dls_path || -L $dls_path ]] || printf '%s\0' "$dls_path" >>../removed
    done <../inputs
    ((${#dls_tops[@]})) || return 0
    set -o pipefail
    # shellcheck disable=SC2016 # the other shell is to expand it
    printf '%s\0' "${dls_tops[@]}" | xargs -0 sh -c '
        find "$@" -type d -o ! -type f ! -type l -printf "x%p\0" \
            -o -cnewer ../unpacked -printf "n%p\0" -o -printf "o%p\0"' sh 2>&"$dls_log" |
        while IFS= read -r -d '' dls_entry; do
            dls_path=${dls_entry#?}
            case $dls_entry in
                x*) dls_say "${dls_path#./} is no file, and is not brought back" ;;
                o*) [[ -n ${dls_known[$dls_path]:-} ]] || printf '%s\0' "tree/${dls_path#./}" ;;
                *) printf '%s\0' "tree/${dls_path#./}" ;;
            esac
        done | sort -zu
}

dls_has_link_above() {
    local dls_above=${1%/}
    [[ -e $dls_above || -L $dls_above ]] || return 0
    while [[ $dls_above == ./*/* ]]; do
        dls_above=${dls_above%/*}
        [[ ! -L $dls_above ]] || return 0
    done
    return 1
}

# One archive on the shared side, whole or not at all: what counts is the note beside it.
dls_bring_back() {
    local dls_name=$dls_store/$dls_task.${SLURM_RESTART_COUNT:-0} dls_codes dls_sum dls_size
    local dls_is_whole=yes dls_packed='' dls_packer=(cat)
    if [[ -n $dls_may_compress ]] && zstd -qc </dev/null >/dev/null 2>&1; then
        dls_packed=zstd # with a thread for each CPU that is the job's
        dls_packer=(zstd -qc1 "-T${SLURM_CPUS_ON_NODE:-1}")
    fi
    (dls_list) >"$dls_node/list" || dls_is_whole=no
    tar --create --format=gnu --hard-dereference --no-recursion --owner=0 --group=0 \
        --numeric-owner --file=- -C "$dls_node" removed --null --files-from="$dls_node/list" \
        2>&"$dls_log" | "${dls_packer[@]}" 2>&"$dls_log" |
        tee -- "$dls_name.tar.part" 2>&"$dls_log" | sha256sum >"$dls_node/sum"
    dls_codes=("${PIPESTATUS[@]}")
    if ((dls_codes[0] > 1 || dls_codes[1] || dls_codes[2] || dls_codes[3])); then
        rm -f -- "$dls_name.tar.part"
        return 1
    fi
    # some files have changed while they were read
    ((dls_codes[0] == 0)) || dls_is_whole=no
    dls_size=$(stat -c %s -- "$dls_name.tar.part")
    read -r dls_sum _ <"$dls_node/sum"
    mv -f -- "$dls_name.tar.part" "$dls_name.tar" &&
        printf '%s\n' "sha256=$dls_sum" "bytes=$dls_size" "cut=$dls_cut" "whole=$dls_is_whole" \
            "node=${SLURMD_NODENAME:-$HOSTNAME}" "root=$dls_node/tree" "inputs=${dls_inputs##*/}" \
            "packed=$dls_packed" >"$dls_name.part" &&
        mv -f -- "$dls_name.part" "$dls_name.brought" && [[ $dls_is_whole == yes ]]
}

dls_stage_out() {
    if ! dls_undisturbed dls_bring_back; then
        dls_say "not all that the job left at its outputs could be brought back from $HOSTNAME"
        ((dls_status)) || dls_status=1
    fi
    dls_undisturbed dls_remove
}

# shellcheck shell=bash disable=SC2154,SC2034 # a part of runner.bash
# The end that the job is told of: its time limit, which the work learns of before, or a
# signal of Slurm's.

dls_grace=120
dls_kill_wait=30
dls_limit=300
dls_cut=
dls_hinted=
dls_moment=
dls_kill_at=
dls_is_requested=
dls_was_asked=
dls_was_killed=

# When the work is told what is next: so long before the time limit, but not in the first
# half of its time. Where it is asked for a checkpoint first, it is told to end when half of
# that is over. How the limit is now, Slurm knows; without an answer it is what it was at
# first, and where nobody knows it, Slurm's warning counts.
dls_set_moment() {
    local dls_due dls_now dls_patience dls_answer=''
    dls_clock dls_now
    if [[ ${1:-} == asking ]]; then
        dls_patience=$((dls_kill_at ? (dls_kill_at - dls_now) / 4 : dls_grace / 8))
        ((dls_patience < 10)) || dls_patience=10
        ((dls_patience > 0)) || dls_patience=1
        dls_answer=$(SLURM_TIME_FORMAT=%s timeout "$dls_patience" squeue -h -o %e -j "$dls_task")
        [[ ! $dls_answer =~ ^[0-9]+$ ]] || dls_limit_at=$dls_answer
    fi
    dls_due=$dls_grace
    if [[ -z $dls_limit_at ]]; then
        dls_limit_at=$((dls_now + dls_grace))
    elif (((dls_limit_at - dls_start) / 2 < dls_due)); then
        dls_due=$(((dls_limit_at - dls_start) / 2))
    fi
    dls_moment=$((dls_limit_at - dls_due))
    if [[ -n $dls_checkpoint_signal ]]; then
        dls_due=$((dls_due / 2))
        [[ -z $dls_was_asked ]] || dls_moment=$((dls_limit_at - dls_due))
    fi
    dls_kill_at=$((dls_limit_at - dls_due / 2))
}

# Signals that mean the end, and Slurm's word that the time limit is near, which comes up
# to a minute early. Where something is to be kept, what is left to the work is half of the
# time; the other half is for that.
dls_heeds() {
    local dls_now dls_due
    case $1 in
        URG) ((dls_grace)) && dls_hinted=yes ;;
        "$dls_checkpoint_signal") dls_is_requested=yes ;;
        TERM)
            dls_clock dls_now
            dls_due=$((dls_now + (dls_kill_wait > 1 ? dls_kill_wait / 2 : 1)))
            [[ -n $dls_cut && $dls_kill_at -lt $dls_due ]] || dls_kill_at=$dls_due
            dls_cut=${dls_cut:-signal}
            dls_whole_group=-
            return 1
            ;;
        *) return 1 ;;
    esac
}

dls_tick() {
    local dls_now
    # not in the trap: bash does not bear it inside of a `read` with a time-out
    if [[ -n $dls_is_requested ]]; then
        dls_is_requested=
        dls_ask
    fi
    dls_clock dls_now
    dls_watch "$dls_now"
    if [[ -z $dls_cut && (-n $dls_hinted || (-n $dls_moment && $dls_now -ge $dls_moment)) ]]; then
        dls_hinted=
        dls_set_moment asking
        ((dls_now < dls_moment)) || dls_come_to_the_end
    fi
    [[ -z $dls_cut || -z $dls_must_keep || $dls_now -lt $dls_kill_at ]] || dls_kill
}

dls_come_to_the_end() {
    if [[ -n $dls_checkpoint_signal && -z $dls_was_asked ]]; then
        dls_was_asked=yes
        dls_is_requested=yes
        dls_set_moment
        return
    fi
    dls_cut=limit
    kill -CONT -- "-$dls_child"
    dls_tell
}

dls_kill() {
    # shellcheck disable=SC2034 # where there are checkpoints, it matters
    dls_was_killed=yes
    kill -KILL -- "-$dls_child"
}

# Whether processes of the work are left. Dead ones may wait long for somebody to reap them.
dls_is_left() {
    kill -0 -- "-$dls_child" && grep -qsE "\) [^ZX] [0-9]+ $dls_child " /proc/[0-9]*/stat
}

# All that the job's processes have left: Slurm would end them now, too.
dls_settle() {
    local dls_now
    while [[ -n $dls_cut ]] && dls_is_left; do
        dls_clock dls_now
        ((dls_now < dls_kill_at)) || break
        sleep 0.2
    done
    ! dls_is_left || dls_kill
}

# A job that was cut short at its limit is to end there: only then does Slurm call it TIMEOUT.
dls_await_limit() {
    local dls_now dls_pipe
    exec {dls_pipe}<> <(:)
    while [[ -z $dls_over ]]; do
        dls_clock dls_now
        # Slurm looks at limits twice a minute
        ((dls_now < dls_limit_at + 120)) || break
        read -r -t 1 <&"$dls_pipe"
        (($? > 128)) || sleep 1
    done
    ((dls_status)) || dls_status=1
}

dls_limit_at=${SLURM_JOB_END_TIME:-${dls_limit:+$((dls_start + dls_limit - 10))}}
((dls_grace == 0)) || [[ -z $dls_limit_at ]] || dls_set_moment

dls_note began
dls_run "$@"
dls_after
dls_end
