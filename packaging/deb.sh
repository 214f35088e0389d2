#!/bin/sh
# deb.sh PYTHON [FOLDER]: make pybootd_VERSION_ARCH.deb in FOLDER (build). What PYTHON has of other
# packages is inside, so that it needs nothing but Debian's python3 of the same version.
set -eu
cd "$(dirname "$0")/.."
python=$1 out=${2:-build}
tree=$out/deb
rm -rf "$tree" build/lib build/bdist*  # what pip made before would come along
mkdir -p "$out"

lib=$tree/usr/lib/pybootd
"$python" -m pip install -qq --disable-pip-version-check --no-compile --no-deps \
    --no-build-isolation --target "$lib" .
rm -rf "$lib/bin"
"$python" packaging/vendor.py "$lib"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' pybootd/__init__.py)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
arch=$(dpkg --print-architecture)

put() { install -D -m "$1" "$2" "$tree/$3"; }
put 755 packaging/debian/pybootd usr/bin/pybootd
put 644 packaging/debian/pybootd.ini etc/pybootd.ini
put 644 etc/pybootd.service lib/systemd/system/pybootd.service
put 644 etc/pybootd.socket usr/share/doc/pybootd/examples/pybootd.socket
put 644 etc/pybootd.bash usr/share/bash-completion/completions/pybootd
put 644 README.rst usr/share/doc/pybootd/README.rst
put 644 CHANGES.rst usr/share/doc/pybootd/CHANGES.rst
find docs -name '*.rst' -o -name '*.png' | while read -r page; do  # what the README points to
    put 644 "$page" "usr/share/doc/pybootd/$page"
done
put 644 packaging/debian/copyright usr/share/doc/pybootd/copyright
put 644 pybootd/etc/pybootd.ini usr/share/doc/pybootd/examples/pybootd.ini
mkdir -p "$tree/usr/share/man/man8"
"$python" packaging/man.py "$tree/usr/share/man/man8/pybootd.8"
gzip -9n "$tree/usr/share/man/man8/pybootd.8"

for script in postinst prerm postrm; do
    put 755 "packaging/debian/$script" "DEBIAN/$script"
done
echo /etc/pybootd.ini >"$tree/DEBIAN/conffiles"
# dpkg --verify goes by them; those of the conffiles it keeps itself
(cd "$tree" && find lib usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
libc=$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)
cat >"$tree/DEBIAN/control" <<END
Package: pybootd
Version: $version
Architecture: $arch
Maintainer: The pybootd developers <pybootd@localhost>
Section: net
Priority: optional
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), libc6 (>= $libc)
Suggests: python3-psycopg (>= 3.1)
Installed-Size: $(du -sk "$tree" | cut -f 1)
Description: boot machines over the network
 BOOTP, DHCP, PXE (BIOS and UEFI), TFTP and HTTP in a single small daemon, told
 what to do by one file. As installed it serves the files of /srv/tftp and gives
 no addresses.
END
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/pybootd_${version}_$arch.deb"
