"""What all signed requests have in common."""

import pytest

from cloudcontents.backends.presign import LONGEST, SignedRequest, disposition, lifetime


@pytest.mark.parametrize("seconds", [0, -1, LONGEST + 1])
def test_a_signed_request_does_not_hold_for_ever(seconds):
    with pytest.raises(ValueError, match="1 to 3600"):
        lifetime(seconds)
    assert (lifetime(1), lifetime(LONGEST)) == (1, LONGEST)


def test_what_is_fetched_by_a_signed_request_is_a_download_by_its_own_name():
    assert disposition(None) == "attachment"
    assert disposition('a"b\r\nX: 1/é;.txt') == "attachment; filename*=UTF-8''a%22b%0D%0AX%3A%201%2F%C3%A9%3B.txt"


def test_a_signed_url_does_not_show():
    signed = SignedRequest("GET", "https://store/secret", {"x": "secret"})
    assert "secret" not in repr(signed)
    assert "secret" not in str(signed)
