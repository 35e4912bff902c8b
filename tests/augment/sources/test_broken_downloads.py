"""A demo package whose download breaks off."""

import http.client
import io

import pytest

from augment.base.errors import BadInput
from augment.sources import packages


class _Cut(io.BytesIO):
    def read(self, *_):
        raise http.client.IncompleteRead(b"half of i", 9)


@pytest.mark.parametrize("answer", [_Cut(), OSError("connection reset")])
def test_a_download_that_breaks_off_is_said_in_a_line(monkeypatch, answer):
    def opened(*_, **__):
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(packages, "urlopen", opened)
    with pytest.raises(BadInput, match=r"could not download shoes@1: .*; check the network") as caught:
        packages.downloaded(packages.Package("shoes@1", "shoes-1.tgz", "0" * 64, "https://example.org/shoes"), None)
    assert "\n" not in str(caught.value)
