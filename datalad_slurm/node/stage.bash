# shellcheck shell=bash disable=SC2154,SC2034,SC2041 # a part of runner.bash
# With --node-local the work runs in a directory of the node: its inputs come out of
# one archive, and what it leaves at its outputs goes back as one.

dls_inputs='@inputs@'
dls_needed='@needed@'
dls_may_compress='@may_compress@'
dls_pwd='@pwd@'
dls_variables=('@variables@')
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
    dls_places=('@places@')
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
