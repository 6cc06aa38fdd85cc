"""Bucket URLs: how they are parsed and how their options are checked.

``scheme://bucket/prefix?option=value``. The URL names the bucket, the prefix and how to reach it, never a credential:
those come from the chain of each store's own SDK.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from .errors import ConfigurationError, InvalidPathError
from .keys import clean
from .redact import redact

_SECRETS = ("secret", "password", "passwd", "token", "credential", "account_key", "access_key", "sas", "connection_string")

#: Schemes whose buckets are in accounts that the URL names first.
_IN_AN_ACCOUNT = ("az",)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed bucket URL.

    Attributes:
        scheme: Names the backend.
        bucket: What stands between ``//`` and the next slash, percent-decoded; of ``az://`` it is ``account/container``.
        path: The rest, percent-decoded, with its leading slash ("" if there is none).
        options: The query, each name once.
    """

    scheme: str
    bucket: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """The path as a canonical prefix without slashes at its ends.

        Raises:
            ConfigurationError: It cannot be a prefix.
        """
        try:
            return clean(self.path)
        except InvalidPathError as error:
            raise ConfigurationError(f"The prefix of the bucket URL cannot be used: {error.message}") from None

    def check_options(self, known: Iterable[str]) -> None:
        """Refuse any option that is not known, naming the nearest right one."""
        names = sorted(known)
        for name in self.options:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(names) or 'none'}."
                raise ConfigurationError(f"Unknown option {name!r} in a {self.scheme}:// URL; {hint}")

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no option.

        Raises:
            ConfigurationError: Neither ``true`` nor ``false`` (``1``, ``0``, ``yes``, ``no``).
        """
        value = self.options.get(name)
        if value is None:
            return default
        if value.lower() in ("true", "1", "yes"):
            return True
        if value.lower() in ("false", "0", "no"):
            return False
        raise ConfigurationError(f"Option {name!r} is true or false.")

    def __str__(self) -> str:
        """The URL without its options: fit for logs and pages."""
        return f"{self.scheme}://{quote(self.bucket)}{quote(self.path)}"


def parse_url(url: str) -> StoreUrl:
    """Parse a bucket URL.

    Raises:
        ConfigurationError: Not a bucket URL, a repeated option, or a credential in it.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"Not a bucket URL: {error}.") from None
    if not parts.scheme or "://" not in url:
        raise ConfigurationError(
            f"'{redact(url.split('?')[0])}' is not a bucket URL; write for example 'file:///home/me/bucket' or 's3://bucket/prefix'."
        )
    if "@" in parts.netloc:
        raise ConfigurationError("A bucket URL holds no user name or password; use the credential chain of the store's SDK.")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if any(word in name.lower() for word in _SECRETS):
            raise ConfigurationError(
                f"Option {name!r} looks like a credential. A bucket URL never holds one (it is shown in logs); "
                "use the credential chain of the store's SDK."
            )
        if name in options:
            raise ConfigurationError(f"Option {name!r} stands twice in the bucket URL.")
        options[name] = value
    if parts.fragment:
        raise ConfigurationError("A bucket URL has no '#'; write '%23' for one in a name.")
    scheme, bucket, path = parts.scheme.lower(), unquote(parts.netloc), unquote(parts.path)
    if scheme in _IN_AN_ACCOUNT:
        container, slash, rest = path.removeprefix("/").partition("/")
        bucket, path = "/".join(filter(None, (bucket, container))), slash + rest
    return StoreUrl(scheme, bucket, path, options)
