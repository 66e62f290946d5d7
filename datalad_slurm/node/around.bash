# shellcheck shell=bash disable=SC2154,SC2034 # a part of runner.bash
# What is done around the work, in its order. Each part that follows defines anew what it
# does of it.

dls_store='@store@'
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
