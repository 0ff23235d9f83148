"""What schemathesis cannot know of the API by itself; loaded by schemathesis.toml."""

import schemathesis
from schemathesis.specs.openapi import checks

# The eleventh wrong token of a minute is answered 429 instead of 401: refused all the same.
checks.AUTH_REJECTION_STATUSES = frozenset({401, 403, 429})


@schemathesis.deserializer("application/x-tar", "application/octet-stream")
def bytes_as_text(_context, response):
    return response.content.decode("latin-1")


@schemathesis.hook
def filter_query(_context, query):
    """An empty parameter is an absent one, and an empty list or object is written as one."""
    return not query or all(value not in ("", [], {}, [""], [None]) for value in query.values())
