"""Redact credentials and the user's name."""

import os
import re

HIDDEN = "***"

_SECRET_WORDS = {"token", "password", "passwd", "passphrase", "secret", "apikey", "credentials"}
_SECRET_KEYS = {"api", "access", "private", "secret", "signing", "auth", "encryption", "license"}
"""The words before `key` that make it a secret."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_URL_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s]+@", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    # Tokens of GitHub, GitLab, Hugging Face, OpenAI, Slack and Amazon, and JSON Web Tokens.
    r"\b(?:(?:gh[opsur]|github_pat|glpat|hf|sk|xox[abprs])[-_][\w-]{16,}"
    r"|A[KS]IA[A-Z0-9]{16}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+)"
)
_SIGNATURE = re.compile(
    # Signatures in addresses of Amazon, Google and Azure.
    r"([?&;](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid)=)"
    r"[^&\s'\"]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b(authorization:\s*\w+\s+)\S+", re.IGNORECASE)


def without_home(text: str) -> str:
    """Return a path with `~` for the home directory at its start."""
    home = os.path.expanduser("~").rstrip("/")
    if home and (text == home or text.startswith(home + "/")):
        return "~" + text[len(home) :]
    return text


def redact_command(command: list[str]) -> list[str]:
    """Return the arguments of a command line, with `***` for credentials.

    These are user names and passwords in URLs, tokens of well-known forms, and the values of
    `--api-key`, `--token`, `wandb.password=` and the like.
    """
    redacted: list[str] = []
    names_secret = False
    for argument in command:
        is_option = argument.startswith("-") and len(argument) > 1
        name, equals, _ = argument.partition("=")
        if names_secret and not is_option:
            redacted.append(HIDDEN)
        elif equals and _is_secret(name):
            redacted.append(f"{name}={HIDDEN}")
        else:
            redacted.append(redact(without_home(argument)))
        names_secret = is_option and not equals and _is_secret(argument)
    return redacted


def redact(text: str) -> str:
    """Return a text with `***` for credentials."""
    text = _URL_USER.sub(rf"\1{HIDDEN}@", text)
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    text = _SIGNATURE.sub(rf"\1{HIDDEN}", text)
    return _SECRET_VALUE.sub(HIDDEN, text)


def _is_secret(name: str) -> bool:
    """Return whether the value of an argument (`--api-key`, `wandb.apiKey`) is a credential."""
    *_, before, last = "", "", *(word.lower() for word in _WORD.findall(name))
    return last in _SECRET_WORDS or (last == "key" and before in _SECRET_KEYS)
