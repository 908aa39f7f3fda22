# shellcheck shell=bash
# What the scripts of ci/rxe share; sourced.

rxe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$rxe/../.." && pwd)
# Kernels and guests are kept here, for all checkouts of this user.
cache=${RXE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/infinistore-rxe}
# shellcheck disable=SC2034 # the scripts' own
compiled=$top/build/rxe

say() { printf 'ci/rxe/%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 125
}

# as_root COMMAND...
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# download PACKAGE SIZE: its .deb into the working directory, nothing installed
download() {
    [ "${DEPS:-1}" != 0 ] || die "$1 is needed from apt, and DEPS=0 forbids the download"
    command -v apt-get >/dev/null || die "no apt-get here to download $1"
    say "downloading $1 ($2)"
    # As root apt would drop its rights for the download and then could not write here.
    local get=(apt-get download -qq -o "APT::Sandbox::User=root" "$1")
    "${get[@]}" 2>/dev/null && return
    # The machine's lists may be absent, as in a fresh container, or too old.
    as_root apt-get update -qq >&2 || true
    "${get[@]}" >&2 || die "apt cannot download $1"
}

# locked NAME: waits until nobody else makes what this script makes; held until the script ends
locked() {
    mkdir -p "$cache" || die "cannot make $cache"
    exec 9>"$cache/$1.lock"
    flock -n 9 || {
        say "another process is at it, waiting"
        flock 9
    }
}

# workspace NAME: an empty directory in the cache, removed when the script ends; call it locked
workspace() {
    rm -rf "$cache/$1".work.* # left by a process that was killed
    work=$(mktemp -d "$cache/$1.work.XXXXXX") || die "cannot write to $cache"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
}
