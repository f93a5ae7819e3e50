"""Errors of obstore, as `OSError`s that say what to do, and malformed settings."""

import contextlib
import os
import pathlib
import re
from collections.abc import Generator

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from fifteen._text import printable

from ..._errors import UnsafePathError

_REMEDIES = {
    "NoSuchBucket|ContainerNotFound|bucket does not exist": (
        "there is no such bucket; create it, or check the address, and the region or account"
    ),
    "ExpiredToken|TokenExpired|token.{0,20}expired": (
        "the credentials have expired; renew them in the environment"
    ),
    # The response itself contains the token.
    "InvalidToken": "the credentials are not valid; check them in the environment",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "169.254.169.254|latest/api/token|metadata.google": (
        "no credentials were found; set them in the environment as the cloud's own tools do"
    ),
    "PermanentRedirect|incorrectly configured region": (
        "the bucket is in another region; set that in the environment, such as AWS_REGION"
    ),
    "Missing (SecretAccessKey|AccessKeyId)|service account file": (
        "the credentials are not complete, or their file cannot be read; check the environment"
    ),
    "Account must be specified": (
        "no account is named; set AZURE_STORAGE_ACCOUNT_NAME in the environment"
    ),
    "builder error": "the endpoint has no TLS, so set AWS_ALLOW_HTTP=true or AZURE_ALLOW_HTTP=true",
    # A response to `HEAD` has no body.
    r"HEAD [\s\S]*400 Bad Request": (
        "the store refuses the credentials, the region or the bucket's name; check whether the "
        "credentials have expired"
    ),
}
_DENIED = "access is denied; check the credentials in the environment and their permissions"
_NO_BUCKET = next(iter(_REMEDIES.values()))
_IS_DENIED = re.compile("AccessDenied|403 Forbidden|401 Unauthorized")
_ANSWER = re.compile(r"(?s)(<\?xml.*?)?<Error>.*?<Code>(.*?)</Code>(.*<Message>(.*?)</Message>)?.*")
"""The code and the message of an error from S3, which may also contain the key and the token."""
_HOST = r"([^\s/@]+@)?([\w.-]+|\[[\da-f:.]+\])(:[1-6]?\d{1,4})?(/[!-~]*)?"
_SETTINGS = (
    (
        "AWS_ENDPOINT(_URL(_S3)?)?|AZURE_(STORAGE_)?ENDPOINT|GOOGLE_BASE_URL",
        rf"https?://{_HOST}",
        "a URL such as https://example.com:9000",
    ),
    ("AWS_(DEFAULT_)?REGION", r"[\w-]+", "a region such as us-east-1"),
    ("[A-Z]+_PROXY_URL", rf"(\w+://)?{_HOST}", "a URL such as http://example.com:3128"),
)
"""Patterns of the names and of the values of environment variables, and what is expected."""
_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_SECRET = re.compile(r"\?[^\s\"')]*|((?<=://)|(?<='))[^/@\s]+@")


def check_settings(scheme: str) -> None:
    """Raise if a setting in the environment would make the library panic, or raise a riddle."""
    for name, value in os.environ.items():
        for names, pattern, expected in _SETTINGS:
            is_read = name.startswith(_PREFIXES[scheme]) and re.fullmatch(names, name)
            if is_read and not re.fullmatch(pattern, value, re.ASCII):
                raise BaseError(f"{name}: expected {expected}, found {value!r}")


@contextlib.contextmanager
def errors_explained(path: pathlib.PurePath, is_put: bool = False) -> Generator[None]:
    """Turn the library's errors into `OSError`s that say what to do."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        # Responses are long, and the address may contain a signature or a password.
        text = str(error).partition("\n\nDebug source")[0]
        remedy = next((known for code, known in _REMEDIES.items() if re.search(code, text)), None)
        if isinstance(error, FileNotFoundError):
            problem = remedy or (_NO_BUCKET if is_put else os.strerror(2))
            raise FileNotFoundError(2, problem, str(path)) from None
        is_denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        if is_denied or remedy or _IS_DENIED.search(text):
            raise PermissionError(13, remedy or _DENIED, str(path)) from None
        text = _SECRET.sub("", _ANSWER.sub(r"\2: \4", text))
        raise OSError(5, " ".join(text.split())[:500], str(path)) from None
    except ValueError as error:
        is_unprintable = isinstance(error, UnicodeEncodeError)
        if not is_unprintable and "Could not parse path" not in str(error):
            raise
        raise UnsafePathError(f"{printable(str(path))}: no object can have that name") from None
    except BaseException as error:
        # It is no `Exception`, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        text = f"the library for object stores failed: {error}; check the environment"
        raise OSError(5, text, str(path)) from None
