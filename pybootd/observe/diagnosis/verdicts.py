"""Every verdict that a boot can get: one table for the rules, the JSON and the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pybootd.core.finding import Finding, Grade


class Certainty(Enum):
    """How sure a verdict is; never more than its evidence."""

    CERTAIN = "certain"
    """It was seen here."""
    LIKELY = "likely"
    """It is the usual cause of what was seen; the advice names the next one, too."""
    UNKNOWN = "unknown"
    """What was due next did not come, and nothing that was seen says why."""


@dataclass(frozen=True, slots=True)
class Diagnosis(Finding):
    """Why a boot stopped: a finding, what it was seen by (``evidence``), and how sure it is."""

    evidence: tuple[str, ...] = ()
    certainty: Certainty = Certainty.LIKELY


@dataclass(frozen=True, slots=True)
class VerdictKind:
    """One kind of verdict: ``explanation`` and ``advice`` hold in general, for the reference."""

    code: str
    grade: Grade
    certainty: Certainty
    title: str
    explanation: str
    advice: str

    def diagnose(
        self,
        problem: str,
        advice: str = "",
        *evidence: str,
        certainty: Certainty | None = None,
    ) -> Diagnosis:
        """Make this verdict of one boot; "" for ``advice``: the general one."""
        return Diagnosis(
            grade=self.grade,
            problem=problem,
            advice=advice or self.advice,
            code=self.code,
            evidence=tuple(line for line in evidence if line),
            certainty=certainty or self.certainty,
        )


def as_note(kind: VerdictKind) -> VerdictKind:
    """Make a kind of fault a note of the same code: what was seen does not show a fault."""
    return replace(kind, grade=Grade.FINE, certainty=Certainty.UNKNOWN)


def _fault(
    code: str,
    title: str,
    explanation: str,
    advice: str,
    certainty: Certainty = Certainty.LIKELY,
) -> VerdictKind:
    return VerdictKind(code, Grade.FAULT, certainty, title, explanation, advice)


def _note(code: str, title: str, explanation: str, advice: str) -> VerdictKind:
    return VerdictKind(code, Grade.FINE, Certainty.UNKNOWN, title, explanation, advice)


# the address

ANOTHER_SERVER = _fault(
    "another-server",
    "Another DHCP server gave the address",
    "The client took the offer of another DHCP server on the network.",
    "Two servers answer here and the client took the other one's offer. Switch that one off, or"
    " keep it and let pybootd only name the boot file: [bootp] mode = proxy.",
    Certainty.CERTAIN,
)
REFUSED = _fault(
    "refused",
    "The access list says no",
    "The list named by [bootp] access does not let the machine boot.",
    "If it should boot, change that line (or add one for its MAC or UUID) in the section named,"
    " and reload with SIGHUP.",
    Certainty.CERTAIN,
)
AUTHORIZATION_SILENT = _fault(
    "authorization-silent",
    "The authorization server gives no answer",
    "With [bootp] access = http, nobody said whether the machine may boot.",
    "See that the server named in [http] location is running, that this host reaches it, and that"
    " it answers within [bootp] timeout with 200, 401 or 403.",
    Certainty.CERTAIN,
)
POOL_EMPTY = _fault(
    "pool-empty",
    "No address is free",
    "All addresses of the pool are in use.",
    "Make the pool larger ([bootp] pool_count), or let it take back addresses of machines that are"
    " gone: reclaim = expired.",
    Certainty.CERTAIN,
)
REFUSED_ADDRESS = _fault(
    "refused-address",
    "Its request was refused",
    "The client asked for an address that it can't have here.",
    "Clients ask again from the start after that; one that does not has to be restarted.",
    Certainty.CERTAIN,
)
ANSWER_LOST = _fault(
    "answer-lost",
    "Our answers do not arrive",
    "The client asks the same again and again, and is answered each time.",
    "Look for what drops packets to UDP port 68 on the way: a firewall on this host, a switch port"
    " that blocks strange DHCP servers (DHCP snooping), a wrong interface or VLAN. If only this"
    " kind of machine is deaf, answer it by broadcast: [buggy_clients] MAC = on.",
)
NOT_REQUESTED = _note(
    "not-requested",
    "The offer was not taken",
    "The client was offered an address and did not ask for it.",
    "The client saw the offer and did not like it, or was switched off or set to boot from"
    " something else. If it happens each time: another server's offer may suit it better, or the"
    " offer lacks what it needs (a boot file for its architecture).",
)
PROXY_NOT_ASKED = _fault(
    "proxy-not-asked",
    "It never asked the proxy",
    "With mode = proxy, the client took an address and never asked port 4011 for its boot file.",
    "Let UDP port 4011 through the firewall of this host. See that the other DHCP server does not"
    " send option 60 or its own boot file (options 66, 67): the client then looks no further.",
)
NO_BOOT_FILE = _fault(
    "no-boot-file",
    "No boot file is configured",
    "[bootfile] has no line for this kind of machine, and no default.",
    "Write a line for its architecture in section [bootfile].",
    Certainty.CERTAIN,
)
OTHER_FILE_SERVER = _fault(
    "other-file-server",
    "It asked another server for its files",
    "The client was sent to another file server, or takes that of another DHCP server.",
    "See whether that server has the file, or let this one serve it.",
)
NOT_FETCHED = _fault(
    "not-fetched",
    "It never asked for its boot file",
    "The address was confirmed, and no request for a file arrived here.",
    "Requests for files do not arrive here, or nothing serves them: let UDP port 69 (TFTP) or TCP"
    " port 80 (HTTP) through the firewall, and see that the service runs.",
)

NOT_SERVED = VerdictKind(
    "not-served",
    Grade.FINE,
    Certainty.CERTAIN,
    "A plain DHCP client is not served",
    "It does not boot from the network, and [bootp] allow_simple_dhcp is off.",
    "If it should get its address here, write in [bootp]: allow_simple_dhcp = on. If another DHCP"
    " server gives it one, all is well.",
)
NO_POOL = _fault(
    "no-pool",
    "No pool is on its network",
    "The request came from a network that no pool of the configuration is on.",
    "Give the network a section [subnet NET/LEN] with pool_start and pool_count, or set [bootp]"
    " pool_start to an address of the interface's own network.",
    Certainty.CERTAIN,
)
LEASE_NOT_WRITTEN = _fault(
    "lease-not-written",
    "Its lease can't be written",
    "The lease file or database refuses the lease, and without it no address is confirmed.",
    "See whether the disk of the lease file ([bootp] leases) is full or read-only (df, dmesg), and"
    " whether the daemon's user may write there. The log has the system's own words.",
    Certainty.CERTAIN,
)
SEND_REFUSED = _fault(
    "send-refused",
    "This host refuses to send our answers",
    "The system refused to send the reply: an output rule of this host's firewall, or no route.",
    "Let UDP from port 67 to port 68 out of this host's firewall (nft list ruleset, iptables -S"
    " OUTPUT); pybootd doctor names the rule.",
    Certainty.CERTAIN,
)

# its files

MISSING_FILE = _fault(
    "missing-file",
    "A file is not there",
    "A file that the boot can't do without is not below the root.",
    "Put it below [tftp] root, or correct its name where it is written.",
    Certainty.CERTAIN,
)
NO_CONFIGURATION = _fault(
    "no-configuration",
    "The boot loader found no configuration",
    "The loader tried the names of its configuration, and none of them is there.",
    "Write one of these files below [tftp] root, or lead its name to another by a line in"
    " [filters].",
    Certainty.CERTAIN,
)
FORBIDDEN_FILE = _fault(
    "forbidden-file",
    "A file was refused",
    "The name leads out of the root, the daemon has no right to the file, or it isn't what [pins]"
    " says.",
    "A client gets nothing outside [tftp] root, whatever links lead there. Put the file below it,"
    " name it in [filters] (an administrator's line may lead anywhere), or give the daemon the"
    " right to read it.",
    Certainty.CERTAIN,
)
BAD_REQUEST = _fault(
    "bad-request",
    "It asked in a way that is not served",
    "The request's mode or options are none that the protocol has, or that this server does.",
    "TFTP knows the modes octet and netascii. Another one (mail, binary) comes from a very old or"
    " broken client: update its firmware or loader.",
    Certainty.CERTAIN,
)
DISK_FULL = _fault(
    "disk-full",
    "The disk of the cache is full",
    "A file has to be kept before it is sent, and there is no space for it.",
    "Make space below [cache] dir, or lower [cache] size.",
    Certainty.CERTAIN,
)
WRONG_CONTENT = _fault(
    "wrong-content",
    "A file is not what its name says",
    "The file was looked at: it is empty, a web page, or a text where a program is due; or a"
    " configuration that its loader can't read.",
    "Put the right file there. A web page was most likely saved by a download that failed.",
    Certainty.CERTAIN,
)
BROKEN_FILE = _fault(
    "broken-file",
    "A file is cut off",
    "The file was looked at: it ends before the end that its own format gives.",
    "Copy it again: the copy or the download ended early, or the disk was full.",
    Certainty.CERTAIN,
)
LOADER_STOPPED = _fault(
    "loader-stopped",
    "The loader did not ask for the next file",
    "What was due next in the sequence of this loader did not come.",
    "Look at the machine's screen. The last file may be of another version, or refuse to run; or"
    " the next one is fetched from elsewhere.",
)
TEMPLATE = _fault(
    "template",
    "A template has a fault",
    "The file would have been made from a template, which could not be rendered.",
    "Put it right: it is read again when it is asked for. What a client lacks, a section [client"
    " MAC] or [class NAME] can give it, or the filter default in the template.",
    Certainty.CERTAIN,
)
ORIGIN_DOWN = _fault(
    "origin-down",
    "The source of the files failed",
    "The place that [tftp] root or a filter names did not give the file, or not to its end.",
    "See that the place that [tftp] root (or a filter) names is up and reached from this host, has"
    " the file, and lets this host have it; a disk that fails shows in the system's log.",
    Certainty.CERTAIN,
)
WRONG_ARCHITECTURE = _fault(
    "wrong-architecture",
    "The boot file is for another kind of machine",
    "The file's header says that it is a program for another processor or firmware.",
    "Name a file that fits in section [bootfile].",
    Certainty.CERTAIN,
)
IPXE_LOOP = _fault(
    "ipxe-loop",
    "iPXE loads itself again and again",
    "A machine that already runs iPXE is given iPXE as its boot file.",
    "A machine that already runs iPXE must get something else: write in section [bootfile]: ipxe ="
    " the URL or file of its script.",
    Certainty.CERTAIN,
)
SECURE_BOOT = _fault(
    "secure-boot",
    "The firmware did not start the boot file",
    "UEFI firmware fetched the file whole and started over, as it does when Secure Boot refuses"
    " what it loaded.",
    "Boot a signed loader (shim, such as Debian's bootnetx64.efi or shimx64.efi.signed), or switch"
    " Secure Boot off in the firmware's settings.",
)

# transfers, and what comes after

BLOCK_TOO_LARGE = _fault(
    "block-too-large",
    "Large blocks do not get through",
    "No block of this size was acknowledged, while smaller ones were.",
    "Something on the way carries smaller packets than this host believes. Write a smaller [tftp]"
    " blocksize, or set the interface's MTU to what the whole way carries.",
)
GAVE_UP = _fault(
    "gave-up",
    "It gave up in the middle of a file",
    "The client fell silent or ended the transfer before the end of the file.",
    "Look at its screen: it may be out of memory, switched off, or unplugged. If it always stops"
    " at this file, the file may be broken or too large for it.",
    Certainty.UNKNOWN,
)
LOSSY = _fault(
    "lossy",
    "The way to it loses packets",
    "Many blocks had to be sent again.",
    "Look at cable, switch port and duplex setting, and for a network that is full. A smaller"
    " window or block helps against a switch that can't keep up: [tftp] windowsize = 4.",
)
SLOW = _fault(
    "slow",
    "A file came very slowly",
    "Few packets were lost or none, and the file took long.",
    "Look for a link at 10 Mbit/s or half duplex, a tunnel or a far network, and a source of files"
    " that is slow itself. Each block waits for an answer: larger blocks or windows help ([tftp]"
    " blocksize, windowsize), or HTTP in place of TFTP.",
)
NO_SYSTEM = _fault(
    "no-system",
    "The kernel was fetched, and no system was heard of",
    "The kernel came, and no system asked for an address. It is a fault where the machine restarted"
    " soon afterwards; else a note, for a system with a fixed address need not ask.",
    "Look at three things: its screen; whether the initrd fits the kernel and has the driver of its"
    " network card; whether the kernel's command line and the machine's memory suffice. If the"
    " system has a fixed address or another network card, all is well.",
)
SIZE_PROBE = _note(
    "size-probe",
    "It asked for a file's size alone",
    "Firmware asks for the size of a file before it fetches it.",
    "Nothing is wrong with that. If nothing follows, the machine had no room for the file, or was"
    " switched off.",
)
STOPPED = _note(
    "stopped",
    "Nothing more was heard of it",
    "The boot stopped where no rule knows why.",
    "It may be at work: a memory test, a menu that waits for someone, a system with a fixed"
    " address. If not, look at its screen.",
)

VERDICTS: tuple[VerdictKind, ...] = tuple(
    one for one in list(globals().values()) if isinstance(one, VerdictKind)
)
"""All of them, in the order of the reference."""
