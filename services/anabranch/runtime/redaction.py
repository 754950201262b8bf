"""What must not be seen in logs and errors."""

import re

_USERINFO = re.compile(r"(://[^:/@\s]*:)\S*@")
_PARAMETER = re.compile(r"(password=)[^&\s]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with the passwords of URLs left out; rather too much is hidden than too little."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
