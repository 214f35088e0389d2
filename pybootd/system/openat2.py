"""openat2(2), by ctypes: the kernel itself keeps a name below a directory (Linux 5.6)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import lru_cache

_NUMBER = 437  # the same wherever a kernel has it, but for these
_NUMBERED_OTHERWISE = ("alpha", "mips")
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08  # linux/openat2.h
_SIZE = 3 * 8  # struct open_how: flags, mode, resolve
# a link that is absolute or leads out; a name that was moved meanwhile; a call that is not allowed
_UNTOLD = frozenset((errno.EXDEV, errno.EAGAIN, errno.EINTR, errno.ENOSYS, errno.EPERM))

Call = Callable[[int, bytes], int]


def beneath(directory: int, name: bytes, flags: int) -> int | None:
    """Open a relative name below a directory; links are followed while they stay there.

    None: the kernel can't tell, or would not say so (an absolute link may lead below, too).
    Raises OSError as ``open`` does.
    """
    call = _prepared(flags)
    if call is None:
        return None
    opened = call(directory, name)
    if opened >= 0:
        return opened
    if -opened in _UNTOLD:
        return None
    raise OSError(-opened, os.strerror(-opened))


@lru_cache(4)
def _prepared(flags: int) -> Call | None:
    """Make the call for these flags, a descriptor or a negative error; None where there is none."""
    if sys.platform != "linux" or os.uname().machine.startswith(_NUMBERED_OTHERWISE):
        return None
    try:
        import ctypes  # for the first name of several parts: a server that has none goes without

        system = ctypes.CDLL(None, use_errno=True).syscall
    except (ImportError, OSError, AttributeError):
        return None
    kinds = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    system.argtypes, system.restype = kinds, ctypes.c_long
    how = (ctypes.c_uint64 * 3)(flags, 0, _BENEATH | _NO_MAGICLINKS)
    place, error = ctypes.addressof(how), ctypes.get_errno

    def call(directory: int, name: bytes, kept: object = how) -> int:
        opened: int = system(_NUMBER, directory, name, place, _SIZE)
        return opened if opened >= 0 else -error()

    # a kernel without it says so of any name
    return None if call(-1, b".") == -errno.ENOSYS else call
