# shellcheck shell=bash disable=SC2154,SC2034,SC2041 # a part of runner.bash
# With --checkpoint the work's state files are kept on the shared side when they are whole,
# and put back before another attempt begins. A kept checkpoint has its attempt, the run of
# that, its number and its checksum in its name, so one rename makes it count.

dls_checkpoint_signal='@signal@'
dls_states=('@states@')
dls_top='@root@'
printf -v dls_run '%04d.%04d' '@attempt@' "${SLURM_RESTART_COUNT:-0}"
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
