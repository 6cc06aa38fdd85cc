"""Keep credentials, signed URLs and forged lines out of logs and messages: one function and one logging filter.

`redact` makes a text fit for a log, a page or a terminal. `install` puts the filter on loggers and on the handlers behind them;
it rewrites a record only where something had to go, and a record without anything suspicious costs a few microseconds.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

#: What stands where a secret was.
MARK = "[redacted]"

#: Longest unbroken run of characters that is shown; a longer one is cut.
LONGEST_NAME = 1024

_SHORTEST_SECRET = 8

# Environment variables whose values are learnt: a cloud's own, with a name that says "secret"; not those that name a file.
_CLOUD_NAME = re.compile(r"(AWS|AZURE|GOOGLE|GCS|GCLOUD|GCP|CLOUDSDK|STORAGE|MINIO|S3|IDENTITY|MSI|SYSTEM|CLOUDCONTENTS)_")
_SECRET_NAME = re.compile(r"SECRET|PASSW|TOKEN|KEY|SAS|CONNECTION_STRING|CREDENTIALS|IDENTITY_HEADER")
_HARMLESS_NAME = re.compile(r"(_FILE|_PATH|_URI|_URL|_NAME|_MODE|_ACCOUNT)\Z|\AGOOGLE_APPLICATION_CREDENTIALS\Z")

# A text without any of these holds nothing that the patterns below look for. Lower case.
_TRIGGERS = (
    *("sig", "secret", "token", "key", "passw", "pwd", "auth", "bearer", "basic ", "credential", "-----begin", "x-amz", "x-goog"),
    *("x-ms-", "accessid", "@", "akia", "asia", "ya29.", "eyj", "==", "sas", "xsrf", "cookie", "connection", "upload_id"),
)

_QUOTE = r"\\?[\"']"
_SEPARATOR = rf"(?:{_QUOTE})?\s{{0,4}}(?:[:=]|%3[ADad])\s{{0,4}}"
_VALUE = rf"(?:b?{_QUOTE}[^\"'\\]*(?:\\[^\"'][^\"'\\]*)*(?:{_QUOTE})?|[^\s&\"',;<>(){{}}\[\]]+)"

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,64}-----(?:.{0,16384}?-----END [A-Z0-9 ]{1,64}-----|[\w+/=\\\s]*)", re.DOTALL)
_HEADER = re.compile(rf"((?:authorization|cookie){_SEPARATOR})(?:b?{_QUOTE}[^\"']*[\"']?|(?!\s*\[redacted\])[^\r\n\"']+)", re.IGNORECASE)
_SCHEME = re.compile(
    r"\b((?:Bearer|Basic|SharedKey(?:Lite)?|SharedAccessSignature|AWS4-[\w-]{1,32}|GOOG\d-[\w-]{1,32})\s+)[^\s\"',;]{8,}", re.IGNORECASE
)
_PARAMETER = re.compile(rf"\b(X-(?:Amz|Goog)-[A-Za-z-]{{1,64}}{_SEPARATOR}){_VALUE}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"((?:secret|passw(?:or)?d|pwd|passphrase|token|api[_-]?key|account[_-]?key|access[_-]?key|private[_-]?key|shared[_-]?key"
    r"|access[_-]?id|signature|\bsig|credential|connection[_-]?string|shared[_-]?access[_-]?signature|\bsas|xsrf|\bupload_id)"
    rf"[\w-]{{0,64}}{_SEPARATOR})(?!(?:None|null|True|False)\b)({_VALUE})",
    re.IGNORECASE,
)
# A token service's answer in XML.
_ELEMENT = re.compile(r"(<(?:\w{1,32}:)?\w{0,64}(?:Secret|Token|Password|AccessKey|Credential|Signature)\w{0,64}>)[^<]+", re.IGNORECASE)
_USERINFO = re.compile(r"(://)[^/\s@\"'<>]{1,512}@")
_SHAPE = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bya29\.[\w-]{8,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\bGOOG1[0-9A-Z]{20,}|(?<![\w+/])[A-Za-z0-9+/]{86}=="
)
# The server's own login link, printed once at its start for its user to open: a token that Jupyter generated.
_LOGIN_TOKEN = re.compile(r"[0-9a-f]{48}\Z")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_RUN = re.compile(rf"\S{{{LONGEST_NAME + 1},}}")

# Where a value holds more than its secret: the password of an address (a proxy's, say), and what signs in a connection string or a SAS.
_PASSWORD = re.compile(r"[A-Za-z][\w+.-]{0,31}://[^/\s:@]*:(.+)@")
_SIGNER = re.compile(r"(?:^|[;&?])(?:AccountKey|SharedAccessKey|sig)=([^;&]+)", re.IGNORECASE)

_registered: tuple[str, ...] = ()


def register(*secrets: str) -> None:
    """Learn exact values that must never be shown, in each form that a log may hold them in. Safe to repeat.

    Args:
        secrets: The values; one of fewer than eight characters is ignored, since it would blot out ordinary words.
    """
    global _registered
    forms = set(_registered)
    for secret in secrets:
        for value in (secret.strip(), *(line.strip() for line in secret.splitlines())):
            if len(value) >= _SHORTEST_SECRET:
                forms.update((value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]))
    # The longest first: a secret that holds another one goes whole.
    _registered = tuple(sorted(forms, key=len, reverse=True))


def register_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Learn the secrets that the environment holds for the stores (``AWS_SECRET_ACCESS_KEY`` …), and the passwords in its addresses."""
    found: list[str] = []
    for name, value in environment.items():
        if _CLOUD_NAME.match(name) and _SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name):
            found += (value, *_SIGNER.findall(value))
        if password := _PASSWORD.match(value):
            found.append(password.group(1))
    register(*found, *map(unquote, found))


def redact(text: str) -> str:
    """Return a text as one line without credentials, signatures and control characters, and without overlong names.

    Never fails, whatever the text. A repeat changes nothing.
    """
    return _escape(_hide(text), lines=False)


def install(*loggers: logging.Logger) -> None:
    """Redact what passes these loggers, and the handlers that they hand to. Safe to repeat.

    Args:
        loggers: Default: this package's, and those of the libraries under the stores.
    """
    register_environment()
    chosen = list(loggers) or [logging.getLogger(name) for name in ("cloudcontents", *_LIBRARIES)]
    for logger in [*chosen, *_below(chosen)]:
        logger.addFilter(_filter)
        above: logging.Logger | None = logger
        while above is not None:
            for handler in above.handlers:
                handler.addFilter(_filter)
            above = above.parent if above.propagate else None


_LIBRARIES = ("boto3", "botocore", "s3transfer", "azure", "google", "urllib3", "requests", "aiohttp", "httpx", "obstore")


class RedactingFilter(logging.Filter):
    """Rewrites a record's message, traceback and stack where they hold what must not be shown. Drops no record.

    What a record interpolates is escaped whole. A message's own line breaks stay, each line indented, so that none of them can
    pass for a record of its own.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record in place; always true."""
        try:
            before = record.getMessage()
        except Exception:
            # A message that does not fit its arguments would print them raw, to stderr.
            before, record.args = f"{record.msg!s} {record.args!r}", None
            record.msg = before
        lines = "\n" not in before or before.count("\n") == str(record.msg).count("\n")
        after = _escape(_hide(before), lines=lines)
        if after != before:
            record.msg, record.args = after, None
        if record.exc_info and record.exc_info[1] is not None:
            self._traceback(record, record.exc_info[1])
        elif record.exc_text:
            record.exc_text = _escape(_hide(record.exc_text), lines=True, indent=False)
        if record.stack_info:
            record.stack_info = _escape(_hide(record.stack_info), lines=True, indent=False)
        return True

    @staticmethod
    def _traceback(record: logging.LogRecord, error: BaseException) -> None:
        before = record.exc_text or _FORMATTER.formatException(record.exc_info)  # type: ignore[arg-type]
        forged = any("\n" in str(one) for one in _chain(error))
        after = _escape(_hide(before), lines=True, indent=forged)
        # Formatters take the text where there is one: it is made once, here.
        record.exc_text = after
        if after != before:
            record.exc_info = None


_filter = RedactingFilter()
_FORMATTER = logging.Formatter()


def _hide(text: str) -> str:
    """A text without secrets."""
    for secret in _registered:
        if secret in text:
            text = text.replace(secret, MARK)
    lower = text.lower()
    if not any(trigger in lower for trigger in _TRIGGERS):
        return text
    if "-----begin" in lower:
        text = _PEM.sub(MARK, text)
    text = _HEADER.sub(rf"\1{MARK}", text)
    text = _PARAMETER.sub(rf"\1{MARK}", text)
    text = _ASSIGNMENT.sub(_hide_assignment, text)
    text = _SCHEME.sub(rf"\1{MARK}", text)
    text = _ELEMENT.sub(rf"\1{MARK}", text)
    text = _USERINFO.sub(rf"\1{MARK}@", text)
    return _SHAPE.sub(MARK, text)


def _hide_assignment(match: re.Match[str]) -> str:
    name, value = match.groups()
    if name == "token=" and match.string[match.start() - 1 : match.start()] in ("?", "&") and _LOGIN_TOKEN.match(value):
        return match.group()
    return f"{name}{MARK}"


def _escape(text: str, *, lines: bool, indent: bool = True) -> str:
    """A text without control characters, and with overlong runs cut; `lines` keeps line breaks, `indent` sets the lines apart."""
    if not text.isprintable():
        text = _CONTROL.sub(lambda match: ascii(match.group())[1:-1], text)
        if "\n" in text:
            if not lines:
                text = text.replace("\n", "\\n")
            elif indent:
                text = re.sub(r"\n(?=\S)", "\n    ", text)
    if len(text) > LONGEST_NAME:
        text = _LONG_RUN.sub(lambda match: f"{match.group()[: LONGEST_NAME - 1]}… ({len(match.group())} characters)", text)
    return text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, its causes, its contexts, and the members of groups among them."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += getattr(one, "exceptions", ())


def _below(loggers: list[logging.Logger]) -> list[logging.Logger]:
    """The loggers below these that exist already: a logger's filter does not see what its children log."""
    prefixes = tuple(f"{logger.name}." for logger in loggers if logger is not logging.root)
    if not prefixes:
        return []
    known = logging.Logger.manager.loggerDict
    return [item for name, item in list(known.items()) if name.startswith(prefixes) and isinstance(item, logging.Logger)]
