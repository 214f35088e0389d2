"""What an access list promises, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.core import plugins
from pybootd.core.client import Client
from pybootd.core.finding import Finding
from pybootd.core.workers import Later

# lists that may stand in a file that doesn't use them
_LISTS = ("mac", "uuid")


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """May this client be served? ``allow`` None: the list doesn't know it.

    A client that the list doesn't know is served if its MAC stands in ``[static_dhcp]``, else
    refused with this reason. ``reason`` is for people ("not in [mac]"). ``error``: nobody could say
    (an authorization server that doesn't answer, say): whatever ``allow`` is, the request stays
    unanswered and is logged as an error.
    ``hostname`` and ``file`` are for this client alone, empty where there is nothing to say.
    """

    allow: bool | None
    reason: str
    error: bool = False
    hostname: str = ""
    file: str = ""


class Access(ABC):
    """One access list. A third party's class is found through entry point ``pybootd.access``.

    ``timeout`` is how many seconds a blocking call may take (``[bootp] timeout``); it is set after
    ``from_config``.
    """

    timeout: float = 5.0

    @classmethod
    @abstractmethod
    def from_config(cls, section: Section) -> Access:
        """Build it from the section with its name; raises ConfigError with every fault."""

    @abstractmethod
    def check(self, client: Client) -> AccessDecision | Later[AccessDecision]:
        """Decide at once, or say what blocking call decides.

        ``client.uuid`` is the UUID that the client once showed, also in requests that lack it;
        ``client.address`` is the address that it has or had.
        """


def build_access(config: Config) -> Access | None:
    """Build the access list that ``[bootp] access`` names; None: everybody is served.

    Raises ConfigError: no such list, its section is missing, or a list is faulty, in use or not.
    """
    used = config.bootp.access.lower()
    written = [name for name in _LISTS if name in config.sections and config.sections[name].options]
    built: dict[str, Access] = {}
    faults: list[Finding] = []
    for name in dict.fromkeys((used, *written) if used else written):
        try:
            built[name] = _build(name, config)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    access = built.get(used)
    if access is not None:
        access.timeout = config.bootp.timeout
    return access


def _build(name: str, config: Config) -> Access:
    try:
        kind: type[Access] = plugins.find_class(plugins.ACCESS, name)
    except plugins.PluginError as error:
        place = config.sections.get("bootp", Section("bootp", config.path))
        raise ConfigError([place.fault("access", error.problem, error.meant)]) from error
    section = config.sections.get(name)
    if section is None:
        section = Section(name, config.path)
        if name in plugins.BUILT_IN[plugins.ACCESS] and (name == "http" or not config.static):
            problem = f"[bootp] access = {name} needs this section, and it is missing"
            raise ConfigError([section.fault("", problem)])
    return kind.from_config(section)
