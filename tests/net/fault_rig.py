"""The daemon that meets a fault, and clients that remember what they were told."""

import time
from ipaddress import IPv4Address

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.leases.lease_file import read_lease_file

INI = """
[bootp]
pool_start = 192.168.1.100
pool_count = 99
allow_simple_dhcp = on
leases = ./disk/leases.db
lease_time = 3600
boot_file = pxelinux.0
[tftp]
root = ./files
"""


class Rig:
    """The daemon beside its lease file, and clients that remember what they were told."""

    def __init__(self, host, firmware, folder, text=INI):
        self.host = host
        self.firmware = firmware
        self.log = folder / "log"
        self.file = folder / "disk" / "leases.db"
        self.file.parent.mkdir()
        (folder / "files").mkdir()
        (folder / "files" / "pxelinux.0").write_bytes(b"boot me" * 300)
        (folder / "pybootd.ini").write_text(text)
        self.daemon = DaemonProcess(host, folder / "pybootd.ini", self.log)
        self.told = {}

    def boot(self, macs, patience=15.0):
        """Give each an address, asked for as often as firmware would."""
        deadline = time.monotonic() + patience
        for mac in macs:
            wanted = self.told.get(mac)
            ack = None
            while ack is None and time.monotonic() < deadline:
                ack = self.firmware.boot(mac, patience=1.0, wanted=wanted)
            assert ack is not None, mac
            assert wanted in (None, ack.yiaddr)
            self.told[mac] = ack.yiaddr
        assert len(set(self.told.values())) == len(self.told)

    def wanted(self, number):
        """Return the address that the pool has for this client, octets."""
        return (IPv4Address("192.168.1.100") + number).packed

    def kept(self):
        """Read which leases the file has: MAC and address."""
        return {lease.mac.hex(":"): lease.address for lease in read_lease_file(self.file)}

    def said(self, text):
        lines = self.log.read_text().splitlines()
        return [line for line in lines if text in line]

    def says(self, text):
        """Wait for the text; return how many lines hold it."""
        deadline = time.monotonic() + 20
        while not self.said(text) and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(self.said(text))
