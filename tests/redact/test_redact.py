"""No credential, signed URL or forged line passes `redact` or the filter, whichever form a log holds it in."""

import io
import logging
import time
import timeit
import traceback

import pytest

from cloudcontents import redact as module
from cloudcontents.redact import MARK, install, redact, register, register_environment

SECRET = "wJalrXUtnFEMIcanaryK7MDENGbPxRfiCYzzzz00"
SIGNATURE = "c4n4ry5ignature0123456789abcdef"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/" + "K1SZFPTOtr/KBHBeksoGMGw=="
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlY2FuYXJ5"

LEAKS = {
    "s3 presigned": (
        f"GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101&X-Amz-Signature={SIGNATURE}",
        SIGNATURE,
    ),
    "s3 presigned, nested": (f"next=https%3A%2F%2Fb%2Fk%3FX-Amz-Signature%3D{SIGNATURE}%26x=1", SIGNATURE),
    "s3 presigned v2": (f"https://b/k?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={SIGNATURE}&Expires=1", SIGNATURE),
    "s3 key id": ("denied for AKIAIOSFODNN7EXAMPLE in us-east-1", "AKIAIOSFODNN7EXAMPLE"),
    "s3 security token header": (f"{{'X-Amz-Security-Token': '{SECRET}', 'Host': 'b'}}", SECRET),
    "s3 canonical request": (f"host:b\nx-amz-security-token:{SECRET}\n", SECRET),
    "s3 authorization": (f"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101, Signature={SIGNATURE}", SIGNATURE),
    "authorization in a dict": (f"headers={{'Authorization': b'AWS4-HMAC-SHA256 Signature={SIGNATURE}'}}", SIGNATURE),
    "authorization in JSON": (f'{{\\"authorization\\": \\"Bearer {SECRET}\\"}}', SECRET),
    "gcs signed": (f"https://storage.googleapis.com/b/k?X-Goog-Algorithm=x&X-Goog-Signature={SIGNATURE}", SIGNATURE),
    "gcs access token": ("refreshed to ya29.a0AfH6SMCanary-canary_canary", "ya29.a0AfH6SMCanary"),
    "gcs private key": (f'"private_key": "-----BEGIN PRIVATE KEY-----\\n{SECRET}\\n-----END PRIVATE KEY-----\\n"', SECRET),
    "pem": (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END RSA PRIVATE KEY-----", SECRET),
    "pem, cut": (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n", SECRET),
    "azure sas": (f"https://a.blob.core.windows.net/c/b?sv=2024-01-01&sr=b&sig={SIGNATURE}%3D&se=2026", SIGNATURE),
    "azure connection string": (f"AccountName=a;AccountKey={AZURE_KEY};EndpointSuffix=core.windows.net", AZURE_KEY[:40]),
    "azure key alone": (f"could not decode {AZURE_KEY}", AZURE_KEY[:40]),
    "azure shared access": (f"SharedAccessSignature=sv=2024&sig={SIGNATURE}", SIGNATURE),
    "azure shared key": (f"signed with SharedKey account:{SIGNATURE}", SIGNATURE),
    "bearer": (f"sent Bearer {SECRET} to the store", SECRET),
    "basic": ("sent Basic dXNlcjpwYXNzd29yZA== to the store", "dXNlcjpwYXNz"),
    "jwt": (f"assertion {JWT} expired", JWT[:30]),
    "assignment": (f"aws_secret_access_key = {SECRET}", SECRET),
    "keyword": (f"Client(secret_key='{SECRET}')", SECRET),
    "json": (f'{{"client_secret": "{SECRET}"}}', SECRET),
    "yaml": (f"password: {SECRET}", SECRET),
    "environment": (f"AZURE_STORAGE_CONNECTION_STRING={SECRET}", SECRET),
    "user in a url": (f"http://user:{SECRET}@host/path", SECRET),
    "token service in XML": (f"b'<Credentials><SecretAccessKey>{SECRET}</SecretAccessKey><Expiration>2026</Expiration>'", SECRET),
    "session token in XML": (f"<ns:SessionToken>{SECRET}</ns:SessionToken>", SECRET),
    "delegation key in XML": (f"<UserDelegationKey><SignedOid>x</SignedOid><Value>{AZURE_KEY}</Value></UserDelegationKey>", AZURE_KEY[:40]),
    "cookie": (f"Cookie: username-localhost-8888={SECRET}; _xsrf=2|abc", SECRET),
    "token in a query": (f"GET /api/contents?token={SECRET}", SECRET),
}

HARMLESS = [
    "saved 'exp/key figures.ipynb' in 12 ms",
    "store s3://bucket/prefix answered 404 not_found",
    "token=None was given",
    "http://localhost:8888/lab?token=0123456789abcdef0123456789abcdef0123456789abcdef",
    "a.b@example.org shared 'x'",
    "Überblick.ipynb: 3 of 4 parts",
]


@pytest.mark.parametrize("name", LEAKS)
def test_leak_is_removed(name):
    text, secret = LEAKS[name]
    safe = redact(text)
    assert secret not in safe
    assert MARK in safe
    assert redact(safe) == safe


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text):
    assert redact(text) == text


@pytest.fixture
def forget(monkeypatch):
    monkeypatch.setattr(module, "_registered", ())


def test_registered_secret_goes_in_every_form(forget):
    register('p@ss w/ord"7\nsecond line of it', "short")
    for form in ('p@ss w/ord"7', "p%40ss%20w%2Ford%227", "p%40ss+w%2Ford%227", 'p@ss w/ord\\"7', "second line of it"):
        assert redact(f"before {form} after") == f"before {MARK} after"
    assert redact("short") == "short"


def test_environment_is_learnt(forget):
    register_environment(
        {
            "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
            "AWS_SESSION_TOKEN": "canary-aws-session",
            "AZURE_STORAGE_KEY": "canary-azure-key",
            "AZURE_STORAGE_SAS_TOKEN": "canary-azure-sas",
            "AZURE_CLIENT_SECRET": "canary-azure-client",
            "GOOGLE_CREDENTIALS": "canary-google-credentials",
            "AZURE_STORAGE_ACCOUNT": "ordinary-account",
            "GOOGLE_CLOUD_PROJECT": "ordinary-project",
            "GOOGLE_APPLICATION_CREDENTIALS": "/etc/ordinary.json",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/ordinary",
            "HOME": "/home/ordinary",
        }
    )
    text = "canary-aws-secret canary-aws-session canary-azure-key canary-azure-sas canary-azure-client canary-google-credentials"
    assert "canary" not in redact(text)
    kept = "ordinary-account ordinary-project /etc/ordinary.json /var/run/ordinary /home/ordinary"
    assert redact(kept) == kept


def test_control_characters_are_escaped():
    assert redact("a\r\nb\x1b[31mc\x00d\u202ee") == r"a\r\nb\x1b[31mc\x00d\u202ee"
    assert redact("tab\tand\u00a0space") == "tab\tand\u00a0space"


def test_overlong_name_is_cut():
    safe = redact("x" * 5000 + " end")
    assert len(safe) < 1100
    assert safe.endswith("… (5000 characters) end")
    assert redact(safe) == safe


def test_pathological_text_is_linear():
    def seconds(size):
        texts = ["a" * size + "key", "token" * (size // 5), "-----BEGIN X-----" * (size // 17), "eyJa" * (size // 4), "://a" * (size // 4)]
        return min(timeit.repeat(lambda: [redact(text) for text in texts], number=1, repeat=3, timer=time.process_time))

    # A ratio, not a time: ten times the text may not take a hundred times as long.
    assert seconds(100_000) < 60 * seconds(10_000)


@pytest.fixture
def log():
    """A logger with a handler that writes to a string, and the filter on it."""
    logger = logging.Logger("redact-test", logging.DEBUG)
    logger.stream = io.StringIO()
    handler = logging.StreamHandler(logger.stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    install(logger)
    return logger


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("way", ["message", "args", "mapping", "object", "exception", "cause", "context", "group", "stack", "broken"])
def test_canary_through_the_filter(log, name, way):
    text, secret = LEAKS[name]

    class Holder:
        def __repr__(self):
            return text

    match way:
        case "message":
            log.debug(text)
        case "args":
            log.debug("a %s b %d", text, 1)
        case "mapping":
            log.debug("a %(x)s b", {"x": text})
        case "object":
            log.debug("a %r b", Holder())
        case "broken":
            log.debug("a %d", text)
        case "stack":
            record = log.makeRecord("x", logging.DEBUG, "f", 1, "a", (), None, sinfo=text)
            log.handle(record)
        case _:
            try:
                if way == "exception":
                    raise RuntimeError(text)
                if way == "group":
                    raise OSError("outer") from RuntimeError("members", [ValueError(text)], ValueError(text))
                try:
                    raise RuntimeError(text)
                except RuntimeError as error:
                    if way == "cause":
                        raise OSError("outer") from error
                    raise OSError("outer")  # noqa: B904
            except Exception:
                log.exception("failed")
            assert "Traceback" in log.stream.getvalue()
    assert log.stream.getvalue()
    assert secret not in log.stream.getvalue()


def test_secret_between_message_and_argument(log):
    log.info("aws_secret_access_key=%s", "abcdefgh")
    assert log.stream.getvalue() == f"INFO aws_secret_access_key={MARK}\n"


def test_no_line_can_be_forged(log):
    log.info("saved %s", "a\nINFO forged")
    log.info("saved a\nINFO forged")
    try:
        raise ValueError("a\nINFO forged")
    except ValueError:
        log.exception("failed")
    lines = log.stream.getvalue().splitlines()
    assert lines[0] == r"INFO saved a\nINFO forged"
    assert not any(line.startswith("INFO forged") for line in lines)


def test_own_line_breaks_and_tracebacks_stay_readable(log):
    log.info("one:\n    two\n    three %d", 3)
    try:
        raise ValueError("plain")
    except ValueError:
        log.exception("failed")
    text = log.stream.getvalue()
    assert text.startswith("INFO one:\n    two\n    three 3\nERROR failed\nTraceback (most recent call last):\n  File ")
    assert text.endswith("\nValueError: plain\n")


def test_harmless_record_is_not_touched():
    record = logging.LogRecord("x", logging.INFO, "f", 1, "saved %s", ("a.ipynb",), None)
    module.RedactingFilter().filter(record)
    assert (record.msg, record.args) == ("saved %s", ("a.ipynb",))


def test_install_reaches_children_and_handlers_above():
    parent, child = logging.getLogger("cc_redact_parent"), logging.getLogger("cc_redact_parent.child.grandchild")
    other = logging.getLogger("cc_redact_parent_other")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    parent.addHandler(handler)
    try:
        install(parent)
        install(parent)
        child.warning("password=%s", "canary-child")
        logging.getLogger("cc_redact_parent.later").warning("password=%s", "canary-later")
        assert "canary" not in stream.getvalue()
        assert len(handler.filters) == len(child.filters) == 1
        assert not other.filters
    finally:
        parent.removeHandler(handler)


def test_normal_logging_stays_cheap():
    """The filter on an ordinary record costs less than what the standard library does for it."""
    record = ("x", logging.INFO, "f", 1, "%s %s answered in %d ms", ("GET", "/api/contents/exp/a.ipynb", 12), None)
    formatter, stream = logging.Formatter("%(asctime)s %(levelname)s %(message)s"), io.StringIO()
    redacting = module.RedactingFilter()

    def without():
        stream.write(formatter.format(logging.LogRecord(*record)))

    def only():
        redacting.filter(logging.LogRecord(*record))

    base = min(timeit.repeat(without, number=2000, repeat=5))
    assert min(timeit.repeat(only, number=2000, repeat=5)) < 3 * base


def test_a_formatter_that_makes_its_own_traceback_gets_none(log):
    class Own(logging.Formatter):
        def format(self, record):
            return "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else f"{record.getMessage()} {record.exc_text}"

    log.handlers[0].setFormatter(Own())
    for text in ("password=canary-own", "harmless"):
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("failed")
    assert "canary" not in log.stream.getvalue()
    assert "ValueError: harmless" in log.stream.getvalue()
