"""What is recorded of the tests that show the promises, and its page."""

import json

from lab import promises

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.lab.test_hold" name="test_a_client_s_build_waits[buildctl]" time="12.6">
<properties><property name="builds" value="20" /><property name="builds in make test" value="2" />
</properties></testcase>
<testcase classname="tests.lab.test_hold" name="test_it_fails" time="1"><failure />
</testcase>
<testcase classname="tests.lab.test_hold" name="test_it_breaks" time="1"><error />
</testcase>
<testcase classname="tests.lab.test_hold" name="test_it_is_left_out" time="0"><skipped />
</testcase>
</testsuite></testsuites>
"""
RAN_ON = {"commit": "abc1234", "date": "2026-11-21", "machine": "2 cores"}


def test_a_test_that_was_skipped_shows_nothing_and_one_that_broke_did_not_pass() -> None:
    results = promises.results(REPORT)
    assert [result["passed"] for result in results.values()] == [True, False, False]


def test_a_row_has_both_counts_the_result_and_where_it_was_shown() -> None:
    raw = {name: result | RAN_ON for name, result in promises.results(REPORT).items()}
    assert (
        "| a client's build waits (buildctl) | builds: 20 | builds: 2 | shown in 13 s "
        "| abc1234, 2026-11-21 |" in promises.page(raw)
    )
    assert "| it fails |  |  | **failed** in 1 s |" in promises.page(raw)


def test_the_page_is_what_its_results_say() -> None:
    assert promises.PAGE.read_text() == promises.page(json.loads(promises.RAW.read_text()))
