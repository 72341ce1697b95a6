"""No private key that was made is in anything that is not meant to hold it."""

import re

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)\n-----END", re.DOTALL)
