"""The command line: parse, one call, print a report, exit with a code that says what happened."""
