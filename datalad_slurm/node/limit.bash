# shellcheck shell=bash disable=SC2154,SC2034 # a part of runner.bash
# The end that the job is told of: its time limit, which the work learns of before, or a
# signal of Slurm's.

dls_grace='@grace@'
dls_kill_wait='@kill_wait@'
dls_limit='@limit@'
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
        '@warning@') ((dls_grace)) && dls_hinted=yes ;;
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
