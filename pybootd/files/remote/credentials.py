"""What we tell web servers of us: names and passwords (RFC 7617) or tokens (RFC 6750), from a file.

The file is an ``.ini``: a section for each web server, its name the URL of its root. What is in it
is never logged, and never sent to another server, one that a redirection names included.
"""

from __future__ import annotations

import configparser
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_OPTIONS = ("password", "token", "user")


class CredentialsError(Exception):
    """A credentials file that can't be used; the text says why and holds no secret."""


def origin_of(url: str) -> str:
    """Return what two URLs of one web server have in common: scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def read_credentials(path: Path) -> Mapping[str, str]:
    """Read a file: origin -> the value of the field ``Authorization``. Raises CredentialsError."""
    parser = configparser.ConfigParser(
        delimiters=("=",), interpolation=None, empty_lines_in_values=False, default_section=""
    )
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise CredentialsError(f"{path} can't be read: {reason}") from error
    except configparser.Error as error:  # its text may show the line, and so a secret
        line = getattr(error, "lineno", None) or getattr(error, "errors", [(0,)])[0][0]
        problem = "write [https://HOST], and user = and password =, or token =, below it"
        raise CredentialsError(f"{path}, line {line}: {problem}") from None
    return MappingProxyType(
        {
            _read_origin(path, name): _read_value(path, name, parser[name])
            for name in parser.sections()
        }
    )


def _read_origin(path: Path, name: str) -> str:
    try:
        parts = urlsplit(name)
        good = parts.scheme in _PORTS and parts.hostname and (parts.port or 80) > 0
        good = good and parts.path in ("", "/") and not parts.query and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise CredentialsError(f"{path}: a section's name must be a server's: write [https://HOST]")
    return origin_of(name)


def _read_value(path: Path, name: str, section: Mapping[str, str]) -> str:
    options = sorted(section)
    for option in options:
        if option not in _OPTIONS:
            raise CredentialsError(f"{path}: [{name}] {option}: there are user, password and token")
        if not section[option].isprintable():
            raise CredentialsError(f"{path}: [{name}] {option}: it holds a control character")
    if options == ["token"] and section["token"].isascii() and section["token"]:
        return f"Bearer {section['token']}"
    if options == ["password", "user"] and ":" not in section["user"]:
        pair = f"{section['user']}:{section['password']}"
        return "Basic " + b64encode(pair.encode()).decode("ascii")
    raise CredentialsError(
        f"{path}: [{name}]: write user = (without a colon) and password =, or token ="
    )
