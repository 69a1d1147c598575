"""docs/faults.md says of every test marked `fault` how it ended, and of no other."""

from docs.faults import PAGE, known, marked, page


def test_the_table_is_of_the_tests_that_there_are() -> None:
    assert len(marked()) > 10
    assert {row["test"].partition("[")[0] for row in known()} <= set(marked())
    assert PAGE.read_text(encoding="utf-8") == page(known()), "python -m docs.faults writes it anew"


def test_every_fault_ended_as_it_must() -> None:
    assert [row["test"] for row in known() if row["outcome"] != "passed"] == []
