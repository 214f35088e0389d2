"""What a file is, by its octets; whatever they are, it is said."""

import random
from collections.abc import Callable

import pytest

from pybootd.observe.content.inspect import inspect_octets
from pybootd.observe.content.kinds import ContentKind, Wholeness

from . import content


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (content.gz, ContentKind.GZIP),
        (content.xz, ContentKind.XZ),
        (content.zst, ContentKind.ZSTD),
        (content.cpio, ContentKind.CPIO),
    ],
)
def test_an_archive_is_whole_or_cut_off(make: Callable[[], bytes], kind: ContentKind) -> None:
    data = make()
    assert (inspect_octets(data).kind, inspect_octets(data).whole) == (kind, Wholeness.WHOLE)
    for part in (len(data) // 3, len(data) // 2, len(data) - 300):
        found = inspect_octets(data[:part])
        assert (found.kind, found.whole) == (kind, Wholeness.CUT)


def test_archives_one_behind_the_other_are_looked_at_to_the_last() -> None:
    """A processor's microcode in front of the initrd."""
    early = content.cpio(500) + bytes(512)
    assert inspect_octets(early + content.gz()).whole is Wholeness.WHOLE
    assert inspect_octets(early + content.gz()[:-4000]).whole is Wholeness.CUT
    assert inspect_octets(content.gz() * 2).whole is Wholeness.WHOLE


def test_programs_are_known_by_their_headers() -> None:
    shim = inspect_octets(content.SHIM)
    assert shim.kind is ContentKind.UEFI_PROGRAM
    assert shim.signers == ("Microsoft Corporation UEFI CA 2011",)
    assert shim.sbat
    assert 7 in shim.architectures
    assert inspect_octets(content.pe()).signers is None
    assert inspect_octets(content.SHIM[:1500]).whole is Wholeness.CUT
    assert inspect_octets(content.elf()).kind is ContentKind.ELF_PROGRAM


def test_kernels_are_known_by_their_boot_protocols() -> None:
    stub, old = inspect_octets(content.bzimage()), inspect_octets(content.bzimage(efi=0))
    assert (stub.kind, stub.efi, old.efi) == (ContentKind.X86_KERNEL, True, False)
    assert inspect_octets(content.bzimage()[:90_000]).whole is Wholeness.CUT
    assert inspect_octets(content.arm64_image()).kind is ContentKind.ARM64_KERNEL


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ContentKind.EMPTY),
        (b" \r\n\t", ContentKind.EMPTY),
        (content.HTML, ContentKind.HTML),
        (content.SCRIPT, ContentKind.IPXE_SCRIPT),
        (content.SCRIPT[7:], ContentKind.UNMARKED_SCRIPT),
        (b"\xef\xbb\xbf" + content.SCRIPT, ContentKind.UNMARKED_SCRIPT),
        (content.PXELINUX, ContentKind.PXELINUX_CONFIG),
        (content.GRUB, ContentKind.GRUB_CONFIG),
        (b"hello\n", ContentKind.TEXT),
    ],
)
def test_texts_are_known_by_what_they_say(data: bytes, kind: ContentKind) -> None:
    assert inspect_octets(data).kind is kind


def test_a_configuration_names_its_files_in_order() -> None:
    assert inspect_octets(content.PXELINUX).names == ("linux", "initrd.gz")
    assert inspect_octets(content.GRUB).names == ("/linux", "/initrd.gz")
    assert inspect_octets(content.SCRIPT).names[0] == "http://10.7.0.1/linux"
    assert inspect_octets(b"kernel=b.b00\nmodules=s.v00 --- t.gz\n").names == (
        "b.b00",
        "s.v00",
        "t.gz",
    )
    assert inspect_octets(content.HTML).title == "404 Not Found"


def test_whatever_the_octets_are_it_is_said() -> None:
    draw = random.Random(5)
    made = [content.SHIM, content.gz(), content.xz(), content.zst(), content.cpio(),
            content.bzimage(3000), content.GRUB, content.HTML]  # fmt: skip
    for _ in range(600):
        data = bytearray(draw.choice(made)[: draw.randrange(1, 6000)])
        for _ in range(draw.randrange(8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        found = inspect_octets(bytes(data))
        assert found.text.isprintable()
        assert found.size == len(data)
