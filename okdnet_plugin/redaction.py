"""Secrets that an option file takes from the environment: they are used, and not written down.

A variable is one if its name says so, as HF_TOKEN, DB_PASSWORD, AWS_SECRET_ACCESS_KEY do. In logs, messages, copies of
the option file, metadata and reports its reference, `${env:HF_TOKEN}`, stands where its value would.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

_NAMES = re.compile(r'SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(?:^|_)(?:API)?KEY(?:_|$)|(?:^|_)AUTH(?:_|$)')
_SHORTEST = 6  # characters; what is shorter is a part of too many words
_references: dict[str, str] = {}  # by the value


def note(variable: str, value: str) -> None:
    """Know the value of a variable that an option file refers to, from now on, as a secret if its name says so."""
    if len(value) >= _SHORTEST and _NAMES.search(variable.upper()):
        _references[value] = f'${{env:{variable}}}'
        logging.getLogger('basicsr').addFilter(_redact_record)  # once, however often it is called


def redacted(value: Any) -> Any:
    """A text, or a copy of nested mappings and lists, with references in the places of secrets."""
    if not _references:
        return value
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if isinstance(value, int | float):
        return _references.get(str(value), value)
    if isinstance(value, str):
        for secret in sorted(_references, key=len, reverse=True):
            value = value.replace(secret, _references[secret])
    return value


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redacted(record.getMessage()), ()
    return True
