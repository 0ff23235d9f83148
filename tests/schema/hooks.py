"""What schemathesis cannot know of the API by itself; loaded by schemathesis.toml."""

import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi import checks

REPLAYED = "idempotency-replayed"
whether_there = checks.ensure_resource_availability

# The eleventh wrong token of a minute is answered 429 instead of 401: refused all the same.
checks.AUTH_REJECTION_STATUSES = frozenset({401, 403, 429})


@schemathesis.deserializer("application/x-tar", "application/octet-stream")
def bytes_as_text(_context, response):
    return response.content.decode("latin-1")


def is_nothing(value):
    """No address has a way to write an object, so what comes of one may be an empty parameter."""
    if isinstance(value, dict):
        return True
    return all(part is None or is_nothing(part) for part in value) if isinstance(value, list) else value == ""


@schemathesis.hook
def filter_query(_context, query):
    """An empty parameter is an absent one, and a list of nothing is written as one."""
    return not query or not any(is_nothing(value) for value in query.values())


def is_a_repeat(ctx, case):
    """The same answer again, to the same key: nothing was made now, and what was made then may have been deleted since."""
    maker = ctx.internals.find_parent(case_id=case.id)
    made = maker and ctx.internals.find_response(case_id=maker.id)
    return made is not None and REPLAYED in made.headers


@CHECKS.register
def ensure_resource_availability(ctx, response, case):
    return None if is_a_repeat(ctx, case) else whether_there(ctx, response, case)
