"""Packaging of the example: the entry points are all that pybootd needs to find its classes."""

from setuptools import setup

setup(
    name="pybootd-example",
    version="1.0",
    py_modules=["pybootd_example"],
    install_requires=["pybootd>=2.0"],
    entry_points={
        # the name on the left is what pybootd.ini says
        "pybootd.access": ["macfile = pybootd_example:MacFile"],
        "pybootd.filters": ["lowercase = pybootd_example:LowerCase"],
        "pybootd.sources": ["zip = pybootd_example:ZipSource"],
    },
)
