#!/bin/sh
# packages.sh PACKAGE...: install those Debian packages that are missing, if we are root.
set -eu
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive

if ! command -v dpkg-query >/dev/null; then
    echo "not Debian: what these packages of Debian's hold must be there already: $*"
    exit 0
fi
number=$(. /etc/os-release; [ "${ID:-}" = debian ] && echo "${VERSION_ID:-}") || true
missing=
for package in "$@"; do
    [ "$package" != debian-installer-netboot ] || package=debian-installer-${number:-13}-netboot-amd64
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "not installed, and only root may install them:$missing"
    exit 0
fi
echo "installing Debian packages:$missing"

# two runs take turns; what a package would start stays off (invoke-rc.d(8): 101 forbids it)
exec 9>/var/lock/pybootd-packages
flock 9
log=$(mktemp)
ours=$log
trap 'rm -f $ours' EXIT
trap 'exit 1' INT TERM
if [ ! -e /usr/sbin/policy-rc.d ]; then
    ours="$ours /usr/sbin/policy-rc.d"
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
get() { apt-get -q -y -o DPkg::Lock::Timeout=600 "$@" >>"$log" 2>&1 9>&-; }
if ! get install --no-install-recommends $missing; then
    get update || true
    known= lacking=
    for package in $missing; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            known="$known $package"
        else
            lacking="$lacking $package"
        fi
    done
    [ -z "$lacking" ] || echo "not packages of this system, whose tests are skipped:$lacking"
    if [ -n "$known" ] && ! get install --no-install-recommends $known; then
        tail -n 15 "$log" >&2
        exit 1
    fi
fi
