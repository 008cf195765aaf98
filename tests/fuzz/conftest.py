"""Prints the figures of the damaged files at the end of a test run."""

from tests.fuzz import runner


def pytest_terminal_summary(terminalreporter):
    if runner.RESULTS:
        terminalreporter.section("damaged files")
        for line in runner.table(dict(sorted(runner.RESULTS.items()))):
            terminalreporter.write_line(line)
