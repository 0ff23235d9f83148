//! The small project that the demo's repository begins with. It is Python because every machine that can read it
//! understands it, and nothing of it is ever run by the demo itself.

/// Paths with their content, in the order in which they are listed.
pub const FILES: &[(&str, &str)] =
    &[("README.md", README), ("greeting.py", GREETING), ("test_greeting.py", TEST)];

const README: &str = "\
# Greeting

A few functions that greet people.

## Functions

- `hello(name)` greets somebody who arrives.

## Tests

    python3 -m unittest
";

const GREETING: &str = "\
\"\"\"Functions that greet people.\"\"\"


def hello(name):
    \"\"\"Greet somebody who arrives.\"\"\"
    return f\"Hello, {name}!\"
";

const TEST: &str = "\
import unittest

import greeting


class GreetingTest(unittest.TestCase):
    def test_hello(self):
        self.assertEqual(greeting.hello(\"Ada\"), \"Hello, Ada!\")
";
