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
# With --checkpoint the work's state files are kept on the shared side when they are whole,
# and put back before another attempt begins. A kept checkpoint has its attempt, the run of
# that, its number and its checksum in its name, so one rename makes it count.

dls_checkpoint_signal=USR2
dls_states=(./'it'"'"'s a*' ./s-"$(printf %03d "$SLURM_ARRAY_TASK_ID")"/"$SLURM_JOB_NAME".h5)
dls_top=/ds
printf -v dls_run '%04d.%04d' 2 "${SLURM_RESTART_COUNT:-0}"
dls_slot=$dls_store/state${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
dls_must_keep=yes
dls_kept=
dls_seen=
dls_seen_before=
dls_told=
dls_quiet=0
dls_number=0
dls_look_at=0
dls_keeper=
dls_keeping_since=0
# it may come before there is anybody to ask
trap '' "$dls_checkpoint_signal"

# What tells one state from another: a line for each file, its inode first.
dls_look() {
    (cd -- "$dls_top" && find "${dls_states[@]}" ! -type d -printf '%i %p %s %T@ %C@\n' | sort)
}

# Put back the latest checkpoint that is whole.
dls_restore() {
    local dls_file dls_sum dls_code
    local -a dls_files
    [[ -z $dls_node ]] || dls_top=$dls_node/tree
    dls_files=("$dls_slot".????.????.????????.*.tar)
    while ((${#dls_files[@]})); do
        dls_file=${dls_files[-1]}
        unset 'dls_files[-1]'
        [[ -e $dls_file ]] || continue
        read -r dls_sum _ < <(sha256sum <"$dls_file")
        if [[ $dls_file != *".$dls_sum.tar" ]]; then
            dls_say "the checkpoint $dls_file is damaged, and not used"
            continue
        fi
        dls_put_back "$dls_file"
        dls_code=$?
        if ((dls_code == 143)); then
            dls_status=143
        elif ((dls_code)); then
            dls_refuse "the checkpoint $dls_file could not be put back"
        fi
        return "$dls_code"
    done
    if [[ $dls_run != 0001.0000 && -z $dls_node && -n $(dls_look) ]]; then
        dls_say "no whole checkpoint was kept, so the work begins with the state that the attempt \
before has left, which may be half written"
    fi
}

dls_put_back() {
    (cd -- "$dls_top" && rm -rf -- "${dls_states[@]}")
    dls_unpack "$1" "$dls_top" || return
    dls_kept=$(dls_look)
}

# Ask those of the job's processes on this node for a checkpoint that handle the signal, as it
# would end others.
dls_ask() {
    local dls_file dls_pid
    while IFS= read -r dls_file; do
        dls_pid=${dls_file//[!0-9]/}
        ((dls_pid != $$)) && dls_expects "$dls_pid" && kill -s "$dls_checkpoint_signal" "$dls_pid"
    done < <(grep -lszx -- "SLURM_JOB_ID=$SLURM_JOB_ID" /proc/[0-9]*/environ)
}

# Whether a process handles the signal. srun, which blocks it but waits for it, hands it on to all
# tasks of its step: it gets it only if some of these are on other nodes.
dls_expects() {
    local dls_name dls_mask dls_bit dls_blocked=0 dls_caught=0
    while read -r dls_name dls_mask; do
        case $dls_name in
            SigBlk:) dls_blocked=0x$dls_mask ;;
            SigCgt:) dls_caught=0x$dls_mask ;;
        esac
    done <"/proc/$1/status"
    ((${SLURM_JOB_NUM_NODES:-1} == 1)) || dls_blocked=0
    dls_bit=$(($(kill -l "$dls_checkpoint_signal") - 1))
    ((dls_caught >> dls_bit & ~(dls_blocked >> dls_bit) & 1)) || return
    # A bash with a trap for EXIT, and programs in Go, catch all signals, XFSZ and VTALRM among
    # them, and are ended by those for which they have nothing to do.
    (((dls_caught & 0x3000000) != 0x3000000)) || { (($1 == dls_child)) && dls_names_signal; }
}

# Whether the job script has a word for the signal, outside of comments.
dls_names_signal() {
    grep -qE "^([^#]*[^#[:alnum:]])?(SIG)?$dls_checkpoint_signal([^[:alnum:]]|$)" "$dls_script"
}

# Keep the state when it has changed, and then been the same for three looks: one look a
# second, fewer if looking or keeping takes long.
dls_watch() {
    local dls_now=$1 dls_state dls_began
    if [[ -n $dls_keeper ]]; then
        ! kill -0 "$dls_keeper" || return 0
        dls_end_keeping
        dls_look_at=$((dls_now + 10 * (dls_now - dls_keeping_since) + ($? ? 30 : 0)))
    fi
    ((dls_now >= dls_look_at)) || return 0
    dls_state=$(dls_look)
    dls_clock dls_began
    dls_look_at=$((dls_began + 1 + 10 * (dls_began - dls_now)))
    if [[ $dls_state == "$dls_seen" ]]; then
        ((dls_quiet += 1))
    else
        dls_quiet=0
        dls_seen_before=$dls_seen
        dls_seen=$dls_state
    fi
    if [[ -n $dls_state && $dls_state != "$dls_kept" ]] && ((dls_quiet >= 2)); then
        dls_begin_keeping "$dls_state"
    fi
}

dls_begin_keeping() {
    dls_offered=$1
    dls_clock dls_keeping_since
    ((dls_number += 1))
    {
        # shellcheck disable=SC2086 # each is a word
        trap '' $dls_signals
        dls_keep "$dls_offered"
    } &
    dls_keeper=$!
}

dls_end_keeping() {
    local dls_code
    while wait "$dls_keeper"; dls_code=$?; kill -0 "$dls_keeper"; do :; done
    dls_keeper=
    ((dls_code)) || dls_kept=$dls_offered
    return "$dls_code"
}

# Keep the state, if it is the same before and after. The older one goes when this is whole.
dls_keep() {
    local dls_part=$dls_slot.$dls_run.part dls_file dls_sum dls_older dls_state
    local -a dls_present=()
    for dls_state in "${dls_states[@]}"; do
        [[ ! -e $dls_top/$dls_state && ! -L $dls_top/$dls_state ]] || dls_present+=("$dls_state")
    done
    set -o pipefail
    if dls_sum=$(tar --create --format=gnu --file=- -C "$dls_top" -- "${dls_present[@]}" \
        2>&"$dls_log" | tee -- "$dls_part" 2>&"$dls_log" | sha256sum) &&
        [[ $(dls_look) == "$1" ]] && sync -- "$dls_part"; then
        printf -v dls_file '%s.%s.%08d.%s.tar' "$dls_slot" "$dls_run" "$dls_number" "${dls_sum%% *}"
        mv -f -- "$dls_part" "$dls_file" || return
        for dls_older in "$dls_slot".????.????.????????.*.tar; do
            [[ $dls_older < $dls_file ]] && rm -f -- "$dls_older"
        done
        return 0
    fi
    rm -f -- "$dls_part"
    return 1
}

# The work's processes stand still meanwhile: what changes from now on is written by one that
# goes on at SIGTERM, and so in its own time.
dls_tell() {
    kill -STOP -- "-$dls_child"
    dls_told=$(dls_look)
    kill -TERM -- "-$dls_child"
    kill -CONT -- "-$dls_child"
}

# The last state counts as well when it is certain that nothing was cut short in writing it.
dls_keep_last() {
    local dls_state
    [[ -z $dls_keeper ]] || dls_end_keeping
    [[ -n $dls_cut ]] || ((dls_status)) || return 0
    dls_state=$(dls_look)
    [[ -n $dls_state && $dls_state != "$dls_kept" ]] || return 0
    if dls_is_whole "$dls_state"; then
        dls_begin_keeping "$dls_state"
        dls_end_keeping && return
    fi
    dls_say "the last state is not kept as a checkpoint, as it may be half written"
}

dls_is_whole() {
    if [[ $1 == "$dls_seen" ]] && ((dls_quiet >= 2)); then
        return 0
    fi
    [[ -n $dls_cut && -z $dls_was_killed ]] || return 1
    if [[ $dls_cut == limit ]]; then
        [[ $1 == "$dls_told" ]] || return 0
    elif ((dls_status <= 128)); then
        return 0
    fi
    dls_is_replaced "$1"
}

# Whether the state is one file, which has taken the place of an older one of that name.
dls_is_replaced() {
    local dls_new=$1 dls_old=$dls_seen dls_name
    [[ $dls_old != "$dls_new" ]] || dls_old=$dls_seen_before
    [[ $dls_new$dls_old != *$'\n'* && ${dls_new%% *} != "${dls_old%% *}" ]] || return
    dls_name=${dls_new#* }
    [[ $dls_old == *" ${dls_name% * * *} "* ]]
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
