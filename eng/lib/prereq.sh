# shellcheck shell=bash
# Prerequisites of the scripts in eng/: checked by every script itself, installed where possible.
# Source this file; it only defines functions. A missing prerequisite ends the script with 3.

prereq_fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 3
}

# Is COMMAND there? "a|b" means either will do; an absolute path is tested as a file, so a header
# can be asked for too. The sbin directories count although a plain user's PATH lacks them.
prereq_present() {
    local alternatives one
    IFS='|' read -r -a alternatives <<<"$1"
    for one in "${alternatives[@]}"; do
        if [[ $one == /* ]]; then
            [[ -e $one ]] && return 0
        elif PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$one" >/dev/null; then
            return 0
        fi
    done
    return 1
}

# need_packages COMMAND:PACKAGE ...
# Installs the packages whose command is missing when root on Debian or a system made from it;
# elsewhere prints the command to run and exits 3.
need_packages() {
    local spec packages=() missing=()
    for spec in "$@"; do
        prereq_present "${spec%:*}" && continue
        missing+=("${spec%:*}")
        packages+=("${spec##*:}")
    done
    ((${#packages[@]})) || return 0
    local install="apt-get install -y --no-install-recommends ${packages[*]}"

    if [[ ! -e /etc/debian_version ]] || ! command -v apt-get >/dev/null; then
        prereq_fail "missing: ${missing[*]}. Install them; on Debian: $install"
    elif ((EUID != 0)); then
        prereq_fail "missing: ${missing[*]}. Run: sudo $install"
    fi

    printf '%s: installing %s\n' "${0##*/}" "${packages[*]}" >&2
    local log
    log=$(mktemp)
    if ! prereq_install "${packages[@]}" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        prereq_fail "could not install ${packages[*]}. Run: $install"
    fi
    rm -f "$log"
    for spec in "$@"; do
        prereq_present "${spec%:*}" || prereq_fail "${spec##*:} does not bring ${spec%:*}"
    done
}

# The index is refreshed only when the first attempt fails, which saves a refresh in most runs.
prereq_install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300)
    "${apt[@]}" install --no-install-recommends "$@" && return 0
    "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"
}

# need_dotnet MAJOR: the .NET SDK comes from its vendor or the distribution, so it is not installed
# here; any SDK of that major version or a later one will do.
need_dotnet() {
    local major=$1 newest
    local advice="Install it (https://learn.microsoft.com/dotnet/core/install) and put it on PATH"
    command -v dotnet >/dev/null || prereq_fail "the .NET SDK $major is missing. $advice"
    # From / so that the checkout's global.json does not hide what is installed.
    newest=$(cd / && dotnet --list-sdks | sed 's/\..*//' | sort -n | tail -n 1)
    if [[ -z $newest ]] || ((newest < major)); then
        prereq_fail "the .NET SDK $major is needed, the newest here is ${newest:-none}. $advice"
    fi
}

# What publishing with NativeAOT needs besides the SDK.
need_native_toolchain() {
    need_packages 'clang|gcc:gcc' '/usr/include/zlib.h:zlib1g-dev'
}
