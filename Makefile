# Everything is made in this folder: .venv holds the package and its tools. As root, a target also
# installs the Debian packages that it needs; else it says which are missing and does what it can.

PYTHON ?= python3
FIRMWARE_PACKAGES = qemu-system-x86 ipxe-qemu ovmf debian-installer-netboot
DHCP_SERVERS = dnsmasq-base isc-dhcp-server kea-dhcp4-server
TEST_PACKAGES = $(shell sed 's/\#.*//' tests/debian-packages.txt)

.PHONY: help demo test test-unit test-lowest test-net test-boot lint verdicts endurance siege installed \
    fresh pythons peers bench bench-dhcp bench-http bench-tftp bench-observe bench-scale deb docs \
    reference picture fuzz soak clean

help:
	@echo "make demo                 a machine boots in a private network, before your eyes"
	@echo "make demo FIRMWARE=bios   the same with a real virtual machine; or FIRMWARE=uefi"
	@echo "make test                 every check and test; test-unit, test-net, test-boot, lint: one group"
	@echo "make verdicts             faults put into real boots, and what pybootd says of each"
	@echo "make endurance            the DHCP server killed 200 times: whose lease is lost?"
	@echo "make siege                twenty boots and a virtual PC while strangers flood the server"
	@echo "make installed            the Debian package in a Debian made for it: started, booted from, purged"
	@echo "make fresh                a bare Debian 12 and 13 each, and the README's commands in them"
	@echo "make pythons              the unit tests with each Python from 3.11 to 3.14 that is here"
	@echo "make peers                the DHCP behaviour rows, tried on other servers, too"
	@echo "make fuzz SECONDS=60      octets of strangers, so long for each target; or TARGETS='names http'"
	@echo "make deb                  a Debian package, in build/"
	@echo "make bench                speed beside other servers; bench-dhcp, bench-http, bench-tftp: one;"
	@echo "                          PYBOOTD_BEFORE=PYTHON adds the build that this Python has"
	@echo "make bench-scale          several daemons with one lease database, in a storm and by the second"
	@echo "make soak                 many boots over a bad network, and what the daemon holds after"
	@echo "make docs                 the guide, in build/docs/"
	@echo "make reference            docs/reference, out of the tables of the code"
	@echo "make picture              docs/page.png: the status page while a real PC boots"
	@echo "make clean                take away what these have made"

demo: .venv/package.done
	@tests/packages.sh iproute2 mount util-linux $(if $(FIRMWARE),$(FIRMWARE_PACKAGES))
	@.venv/bin/pybootd demo $(if $(FIRMWARE),--firmware $(FIRMWARE))

test: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES)
	@.venv/bin/python tests/run.py lint unit lowest net boot

test-unit test-lowest lint: .venv/test.done
	@.venv/bin/python tests/run.py $(@:test-%=%)

test-net test-boot: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES)
	@.venv/bin/python tests/run.py $(@:test-%=%)

verdicts: .venv/test.done
	@tests/packages.sh iproute2 curl
	@.venv/bin/pytest -q -n 2 tests/observe/test_verdicts.py

endurance: .venv/test.done
	@tests/packages.sh iproute2
	@PYBOOTD_KILLS=200 .venv/bin/pytest -q -s -k kill tests/net/test_dhcp_endurance.py

siege: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES) tftpd-hpa
	@.venv/bin/pytest -q -s tests/boot/besieged.py

installed: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES) debootstrap
	@.venv/bin/python -m tests.boot.installed

fresh: .venv/test.done
	@tests/packages.sh iproute2 debootstrap git
	@.venv/bin/python -m tests.boot.fresh $(RELEASES)

pythons:
	@tests/pythons.sh

peers: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES) $(DHCP_SERVERS)
	@.venv/bin/python -m tests.net.dhcp_servers

bench: bench-dhcp bench-http bench-tftp

bench-dhcp: .venv/package.done
	@tests/packages.sh iproute2 kea-admin strace $(DHCP_SERVERS)
	@.venv/bin/python bench/dhcp/run.py

fuzz: SECONDS = 60
fuzz: .venv/fuzz.done
	@.venv/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

deb: .venv/test.done
	@packaging/deb.sh .venv/bin/python

bench-scale: .venv/test.done
	@tests/packages.sh postgresql kea-admin kea-dhcp4-server
	@.venv/bin/python bench/scale/run.py

soak: .venv/package.done
	@tests/packages.sh iproute2
	@.venv/bin/python -m bench.soak.run --boots 250

bench-observe: .venv/package.done
	@tests/packages.sh gcc libc6-dev
	@.venv/bin/python bench/observe/run.py --output .cache/bench-observe.json

bench-http: .venv/package.done
	@tests/packages.sh iproute2 gcc libc6-dev
	@.venv/bin/python bench/http/run.py --json bench/http/results.json

docs: .venv/test.done
	@.venv/bin/sphinx-build -q -W -b html docs build/docs
	@echo "build/docs/index.html"

reference: .venv/test.done
	@.venv/bin/python docs/generate.py

picture: .venv/test.done
	@tests/packages.sh $(TEST_PACKAGES)
	@.venv/bin/pytest -q tests/boot/test_page.py
	@cp build/screenshots/qemu-boot.png docs/page.png
	@echo docs/page.png

bench-tftp: .venv/package.done
	@tests/packages.sh iproute2 util-linux dnsmasq-base gcc libc6-dev
	@.venv/bin/python bench/tftp/run.py --json .cache/bench-tftp.json
	@.venv/bin/python bench/tftp/dhcp.py

clean:
	rm -rf .venv .venv-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.11 ..."; exit 1; }
	@echo "making .venv"
	@rm -rf .venv
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/packages.sh python3-venv
	@$(PYTHON) -m venv .venv

.venv/package.done: .venv/bin/pip setup.py
	@echo "installing pybootd into .venv"
	@.venv/bin/pip install -qq --disable-pip-version-check --editable .
	@touch $@

.venv/test.done: .venv/bin/pip setup.py
	@echo "installing pybootd and what its tests need into .venv"
	@.venv/bin/pip install -qq --disable-pip-version-check --editable '.[test]'
	@touch $@ .venv/package.done

.venv/fuzz.done: .venv/test.done
	@echo "installing what fuzzing needs into .venv"
	@.venv/bin/pip install -qq --disable-pip-version-check --editable '.[test,fuzz]'
	@touch $@
