#!/bin/sh
# Let the boot network reach the world through this host, and undo it.
set -u

usage() {
    cat <<END
forward.sh [-i WAN] [-j LAN] on|off

Turns IP forwarding and masquerading on, and off, for the boot network.

  -i WAN  interface towards the world (default: the one of the default route)
  -j LAN  interface towards the boot network (default: the only other one)
  on      start; what was changed is shown, and noted in $state
  off     undo exactly that

Uses nftables, or iptables where that alone is there; on macOS, pf.
END
}

name=$(basename "$0")
state=${FORWARD_STATE:-/var/run/pybootd-forward}
table=pybootd_forward
anchor=com.apple/pybootd # macOS' own pf.conf has a place for anchors of this prefix

say() { echo "$name: $*"; }
fail() { echo "$name: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# run a command, and show it
run() {
    say "$*"
    "$@"
}

# what there is: default_wan, candidates (with IPv4), exists, networks

on_linux() { [ "$(uname -s)" = Linux ]; }

default_wan() {
    if on_linux; then
        ip -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1
    else
        route -n get default 2>/dev/null | sed -n 's/.*interface: *//p'
    fi
}

candidates() {
    if on_linux; then
        ip -o -4 address show up scope global | awk '{ print $2 }' | sort -u
    else
        for each in $(ifconfig -l); do
            ifconfig "$each" | grep -q '[[:space:]]inet ' && echo "$each"
        done | grep -v '^lo'
    fi
}

exists() {
    if on_linux; then [ -d "/proc/sys/net/ipv4/conf/$1" ]; else ifconfig "$1" >/dev/null 2>&1; fi
}

networks() {
    ip -o -4 address show dev "$1" | sed -n 's/.* inet \([^ ]*\).*/\1/p'
}

choose_interfaces() {
    [ -n "$wan" ] || wan=$(default_wan)
    [ -n "$wan" ] || fail "no default route here: name the interface towards the world with -i"
    exists "$wan" || fail "there is no interface $wan"
    if [ -z "$lan" ]; then
        # shellcheck disable=SC2046  # one word an interface
        set -- $(candidates | grep -vxF -e "$wan")
        [ $# -eq 1 ] || fail "name the boot network's interface with -j; there is: ${*:-none}"
        lan=$1
    fi
    exists "$lan" || fail "there is no interface $lan"
    [ "$lan" != "$wan" ] || fail "$wan can't be both the world's and the boot network's interface"
}

choose_backend() {
    if ! on_linux; then backend=pf
    elif have nft; then backend=nft
    elif have iptables; then backend=iptables
    else fail "neither nft nor iptables is here: install nftables"
    fi
}

# forwarding: of the two interfaces alone where the system can, so that nothing else is changed

get_forwarding() {
    if on_linux; then
        cat "/proc/sys/net/ipv4/conf/$1/forwarding"
    else
        sysctl -n net.inet.ip.forwarding
    fi
}

set_forwarding() {
    now=$(get_forwarding "$1") || return 1
    [ "$now" = "$2" ] && return
    if on_linux; then
        say "net.ipv4.conf.$1.forwarding = $2 (was $now)"
        echo "$2" >"/proc/sys/net/ipv4/conf/$1/forwarding"
    else
        say "net.inet.ip.forwarding = $2 (was $now)"
        sysctl -w "net.inet.ip.forwarding=$2" >/dev/null
    fi
}

# rules: what comes from LAN leaves by WAN as ours; nothing else passes that didn't pass before

# the interfaces that nothing was forwarded from before
closed() {
    [ "$lan_before" = 1 ] || echo "$lan"
    [ "$wan_before" = 1 ] || echo "$wan"
}

rules_on_nft() {
    rules="table ip $table {
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname \"$lan\" oifname \"$wan\" accept
        iifname \"$wan\" ct state established,related accept
$(closed | sed 's/.*/        iifname "&" drop/')
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ip saddr { $(networks "$lan" | paste -s -d , -) } oifname \"$wan\" masquerade
    }
}"
    say "nft -f -"
    echo "$rules"
    echo "$rules" | nft -f - || return 1
    if nft list chains ip 2>/dev/null | grep -q 'hook forward .*policy drop'; then
        say "note: another table drops what it doesn't know: allow $lan to $wan there, too"
    fi
}

rules_off_nft() {
    nft list table ip "$table" >/dev/null 2>&1 || return 0
    run nft delete table ip "$table"
}

rules_on_iptables() {
    for each in filter nat; do
        run iptables -w -t $each -N $table || return 1
    done
    run iptables -w -A $table -i "$lan" -o "$wan" -j ACCEPT || return 1
    run iptables -w -A $table -i "$wan" -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT ||
        return 1
    for each in $(closed); do
        run iptables -w -A $table -i "$each" -j DROP || return 1
    done
    for each in $(networks "$lan"); do
        run iptables -w -t nat -A $table -s "$each" -o "$wan" -j MASQUERADE || return 1
    done
    run iptables -w -I FORWARD -j $table && run iptables -w -t nat -I POSTROUTING -j $table
}

rules_off_iptables() {
    undone=0
    for each in filter:FORWARD nat:POSTROUTING; do
        own="iptables -w -t ${each%:*}"
        $own -n -L $table >/dev/null 2>&1 || continue
        if $own -C "${each#*:}" -j $table 2>/dev/null; then
            run $own -D "${each#*:}" -j $table || undone=1
        fi
        run $own -F $table && run $own -X $table || undone=1
    done
    return $undone
}

rules_on_pf() {
    rules="nat on $wan inet from $lan:network to any -> ($wan)"
    say "pfctl -a $anchor -f -"
    echo "$rules"
    echo "$rules" | pfctl -q -a $anchor -f - || return 1
    say "pfctl -E"
    token=$(pfctl -E 2>&1 | sed -n 's/^Token : *//p')
    echo "token=$token" >>"$state"
}

rules_off_pf() {
    run pfctl -q -a $anchor -F all || return 1
    [ -z "$token" ] || run pfctl -q -X "$token"
}

# on and off

on() {
    if [ -e "$state" ]; then
        recall
        say "already on, from $lan to $wan: $name off undoes it"
        exit 0
    fi
    choose_interfaces
    choose_backend
    if [ $backend != pf ] && [ -z "$(networks "$lan")" ]; then
        fail "$lan has no IPv4 address"
    fi
    lan_before=$(get_forwarding "$lan") && wan_before=$(get_forwarding "$wan") || exit 1
    note || fail "can't write $state"
    if "rules_on_$backend" && set_forwarding "$lan" 1 && set_forwarding "$wan" 1; then
        say "on: $lan reaches the world through $wan"
    else
        say "that failed; undoing it" >&2
        undo
        exit 1
    fi
}

off() {
    if [ ! -e "$state" ]; then
        say "not on: nothing to undo"
        exit 0
    fi
    recall
    undo || fail "not all of it could be undone: $state says what it was"
    say "off: all is as it was"
}

undo() {
    failed=0
    for each in "$wan=$wan_before" "$lan=$lan_before"; do
        if exists "${each%=*}"; then
            set_forwarding "${each%=*}" "${each##*=}" || failed=1
        fi
    done
    "rules_off_$backend" || failed=1
    [ $failed = 0 ] && rm -f "$state"
}

note() {
    for each in backend wan lan wan_before lan_before; do
        eval "echo \"$each=\$$each\""
    done >"$state"
}

recall() {
    while IFS='=' read -r key value; do
        case $key in
        backend) backend=$value ;;
        wan) wan=$value ;;
        lan) lan=$value ;;
        wan_before) wan_before=$value ;;
        lan_before) lan_before=$value ;;
        token) token=$value ;;
        esac
    done <"$state"
    case $backend in
    nft | iptables | pf) ;;
    *) fail "$state is damaged: remove it, and what it was for" ;;
    esac
}

wan='' lan='' backend='' token='' wan_before='' lan_before=''
while getopts i:j:h option; do
    case $option in
    i) wan=$OPTARG ;;
    j) lan=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || { usage >&2; exit 2; }
case $1 in
on | off) ;;
*) usage >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || fail "only root may change how this host forwards: try sudo $0 $1"
"$1"
