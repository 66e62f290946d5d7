# shellcheck shell=bash disable=SC2154,SC2034,SC2041 # a part of runner.bash
# With --node-local the work runs in a directory of the node: its inputs come out of
# one archive, and what it leaves at its outputs goes back as one.

dls_store='@store@'
dls_inputs='@inputs@'
dls_needed='@needed@'
dls_pwd='@pwd@'
dls_grace='@grace@'
dls_kill_wait='@kill_wait@'
dls_limit='@limit@'
dls_variables=('@variables@')
dls_node=
dls_cut=
dls_hinted=
dls_moment=
dls_kill_at=

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
    dls_remove
    return 1
}

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
    dls_places=('@places@')
    for dls_place in "${dls_places[@]}"; do
        [[ -n $dls_place ]] && dls_node=$(mktemp -d -- "$dls_place/datalad-slurm-$dls_task.XXXXXXXX") &&
            return
    done
    dls_node=
    dls_refuse "no directory can be made in $dls_place on $HOSTNAME: it is not there, or cannot be \
written to; choose another place with --node-local-dir"
}

dls_before() {
    : >"$dls_store/$dls_task.${SLURM_RESTART_COUNT:-0}.begun"
    local PATH=$PATH:/usr/bin:/bin dls_place dls_places dls_free dls_tar dls_code dls_stopped
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
    tar --extract --no-same-owner --file=- -C "$dls_node" <"$dls_inputs" >&"$dls_log" 2>&1 &
    dls_tar=$!
    # shellcheck disable=SC2064 # the process is meant as it is now
    trap "dls_stopped=yes; dls_receive TERM; kill $dls_tar" TERM
    while wait "$dls_tar"; dls_code=$?; kill -0 "$dls_tar"; do :; done
    trap - TERM
    if [[ -n $dls_stopped ]]; then
        dls_status=143
        dls_remove
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

# When the work is told to end: so long before the time limit, but not in the first half of
# its time. How the limit is now, Slurm knows; without an answer it is what it was at first.
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
    if [[ -z $dls_limit_at ]]; then
        dls_moment=$dls_now
        dls_kill_at=$((dls_now + dls_grace / 2))
        return
    fi
    dls_due=$(((dls_limit_at - dls_start) / 2))
    ((dls_due < dls_grace)) || dls_due=$dls_grace
    dls_moment=$((dls_limit_at - dls_due))
    dls_kill_at=$((dls_limit_at - dls_due / 2))
}

# Signals that mean the end, and Slurm's word that the time limit is near, which comes up
# to a minute early. What is left to the work is half of the time; the other half is for
# bringing its outputs back.
dls_heeds() {
    local dls_now dls_due
    case $1 in
        '@warning@') ((dls_grace)) && dls_hinted=yes ;;
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
    dls_clock dls_now
    if [[ -z $dls_cut && (-n $dls_hinted || (-n $dls_moment && $dls_now -ge $dls_moment)) ]]; then
        dls_hinted=
        dls_set_moment asking
        if ((dls_now >= dls_moment)); then
            dls_cut=limit
            kill -CONT -- "-$dls_child"
            kill -TERM -- "-$dls_child"
        fi
    fi
    [[ -z $dls_cut || $dls_now -lt $dls_kill_at ]] || kill -KILL -- "-$dls_child"
}

# All that the job's processes have left: Slurm would end them now, too.
dls_settle() {
    local dls_now
    while [[ -n $dls_cut ]] && kill -0 -- "-$dls_child"; do
        dls_clock dls_now
        ((dls_now < dls_kill_at)) || break
        sleep 0.2
    done
    kill -KILL -- "-$dls_child"
}

# Every file and link at the outputs, but for inputs that are as they were.
dls_list() {
    local LC_ALL=C dls_path dls_entry
    local -a dls_tops=()
    local -A dls_known=()
    cd -- "$dls_node/tree" || return
    shopt -s globstar dotglob nullglob
    for dls_path in '@patterns@'; do
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
    local dls_is_whole=yes
    (dls_list) >"$dls_node/list" || dls_is_whole=no
    tar --create --format=gnu --hard-dereference --no-recursion --owner=0 --group=0 \
        --numeric-owner --file=- -C "$dls_node" removed --null --files-from="$dls_node/list" \
        2>&"$dls_log" | tee -- "$dls_name.tar.part" 2>&"$dls_log" | sha256sum >"$dls_node/sum"
    dls_codes=("${PIPESTATUS[@]}")
    if ((dls_codes[0] > 1 || dls_codes[1] || dls_codes[2])); then
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
            >"$dls_name.part" &&
        mv -f -- "$dls_name.part" "$dls_name.brought" && [[ $dls_is_whole == yes ]]
}

dls_after() {
    local PATH=$PATH:/usr/bin:/bin dls_was_brought dls_over=
    [[ -n $dls_node ]] || return
    dls_settle
    trap 'dls_receive TERM; dls_over=yes' TERM
    # Signals to the whole job are none of the packer's business.
    # shellcheck disable=SC2086 # each is a word
    (trap '' $dls_signals; dls_bring_back)
    dls_was_brought=$?
    if ((dls_was_brought)); then
        dls_say "not all that the job left at its outputs could be brought back from $HOSTNAME"
        ((dls_status)) || dls_status=1
    fi
    # shellcheck disable=SC2086
    (trap '' $dls_signals; dls_remove)
    [[ $dls_cut != limit ]] || dls_await_limit
    trap '' TERM
}

# A job that was cut short at its limit is to end there: only then does Slurm call it TIMEOUT.
dls_await_limit() {
    local dls_now dls_pipe
    exec {dls_pipe}<> <(:)
    while [[ -z $dls_over ]]; do
        dls_clock dls_now
        # Slurm looks at limits twice a minute
        ((dls_now < ${dls_limit_at:-$((dls_kill_at + dls_grace))} + 120)) || break
        read -r -t 1 <&"$dls_pipe"
        (($? > 128)) || sleep 1
    done
    ((dls_status)) || dls_status=1
}

dls_limit_at=${SLURM_JOB_END_TIME:-${dls_limit:+$((dls_start + dls_limit - 10))}}
((dls_grace == 0)) || [[ -z $dls_limit_at ]] || dls_set_moment
