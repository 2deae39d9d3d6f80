"""The page of `plimsoll report` in a real browser: `make test-page`, and never in `make test`."""
