"""S3-compatible storage: its settings, its connections, and its errors in words."""

from __future__ import annotations

import os
import re

import pyarrow as pa
from pyarrow import fs

from augment.base.errors import UsageError

ENDPOINT = re.compile(r"(https?)://([^/@\s]+)/?")


# What Delta says after retries in vain, and Arrow: the storage is away, it has refused nothing.
AWAY = re.compile(r"error sending request|after [1-9]\d* retries|NETWORK_CONNECTION|HTTP status 5|timed out|"
                  r"SLOW_DOWN|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT|THROTTLING|INTERNAL_FAILURE")  # fmt: skip

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")


class Connections(fs.FileSystemHandler):
    """S3 for reading, with connections of each process's own.

    A forked worker would share its parent's, and each would take bytes that were meant for the other.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings_of = settings
        self._by_process: dict[int, fs.S3FileSystem] = {}  # an ancestor's stay: closing them here would end them there

    @property
    def here(self) -> fs.S3FileSystem:
        if os.getpid() not in self._by_process:
            self._by_process[os.getpid()] = fs.S3FileSystem(**self.settings_of)
        return self._by_process[os.getpid()]

    def __reduce__(self) -> tuple[type[Connections], tuple[dict[str, str]]]:
        """To a spawned worker go the settings, which hold no credentials."""
        return Connections, (self.settings_of,)

    def get_type_name(self) -> str:
        return "s3"

    def normalize_path(self, path: str) -> str:
        return self.here.normalize_path(path)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self.here.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self.here.get_file_info(selector)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.here.open_input_stream(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self.here.open_input_file(path)

    def _refuse(self, *_: object) -> None:
        raise OSError("a replica that was opened for reading is not written to")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse


def settings_of(url: str) -> dict[str, str]:
    """For Arrow, what Delta reads from the environment itself; credentials both read there."""
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)]
    if missing:
        raise UsageError(f"{url}: set {' and '.join(missing)} in the environment")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings = {"region": region} if region else {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return settings
    parts = ENDPOINT.fullmatch(endpoint)
    if parts is None:  # the value stays unsaid: people put passwords into URLs
        raise UsageError("AWS_ENDPOINT_URL: not like https://host or https://host:port")
    if parts[1] == "http" and os.environ.get("AWS_ALLOW_HTTP", "").lower() not in ("1", "true", "yes", "on"):
        raise UsageError("AWS_ENDPOINT_URL is http, which hides nothing: use https, or set AWS_ALLOW_HTTP=true")
    return {**settings, "scheme": parts[1], "endpoint_override": parts[2]}


def reason_of(error: Exception) -> str:
    """The part of a storage error that says what is wrong: its last cause, or the server's own words; no secrets."""
    text = re.sub(r"\x1b\[\d*m|\(Request ID: [^)]*\)", "", str(error))
    told = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    lines = [line.strip(" ↳") for line in text.splitlines() if line.strip(" ↳")] or [type(error).__name__]
    reason = told[1] if told else lines[-1 if "↳" in text else 0]
    for name in SECRETS:
        if secret := os.environ.get(name):
            reason = reason.replace(secret, "***")
    return " ".join(reason.split())
