"""Packaging of pybootd; everything about tools (ruff, mypy, pytest) stands in pyproject.toml."""

import pathlib
import re
import sys

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

sys.path.insert(0, str(HERE))  # a build may start elsewhere
from pybootd.core import plugins  # noqa: E402  it needs the standard library alone


def version() -> str:
    """Read the version from the package without importing it (its dependencies may be missing)."""
    text = (HERE / "pybootd" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise RuntimeError("pybootd/__init__.py holds no __version__")
    return found.group(1)


POSTGRESQL = ["psycopg[binary]>=3.3.5"]
TEST = [
    *POSTGRESQL,
    "docutils>=0.20",
    "hypothesis>=6.100",
    "import-linter>=2.0",
    "mypy>=1.10",
    "packaging>=23.0",
    'playwright>=1.40; platform_machine in "x86_64 AMD64 aarch64 arm64"',
    "pytest>=8.0",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "ruff>=0.5",
    "scapy>=2.5",
    "setuptools>=70.1",
    "sphinx>=7.2",
]

FUZZ = ["atheris>=3.0", "coverage>=7.4"]

setup(
    name="pybootd",
    version=version(),
    description="BOOTP, DHCP, PXE, TFTP and HTTP boot server in one small daemon",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="LGPL-2.1-or-later",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["pybootd", "pybootd.*"]),
    package_data={"pybootd": ["etc/*", "status/page/*", "py.typed"]},
    install_requires=[
        "h11>=0.16",
        "jinja2>=3.1.6",
        "netifaces-plus>=0.12.5",
        "prometheus-client>=0.20",
        "rich>=13.0",
        "urllib3>=2.8",
    ],
    extras_require={"fuzz": FUZZ, "postgresql": POSTGRESQL, "test": TEST},
    entry_points={
        "console_scripts": ["pybootd = pybootd.cli:main"],
        **{
            group: [f"{name} = {value}" for name, value in built_in.items()]
            for group, built_in in plugins.BUILT_IN.items()
        },
    },
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: System Administrators",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Boot",
        "Topic :: System :: Installation/Setup",
    ],
)
