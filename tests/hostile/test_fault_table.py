"""docs/faults.md has the result of every test marked `fault`, and of no other."""

from docs.faults import PAGE, known, marked, page


def test_the_table_has_exactly_the_marked_tests() -> None:
    assert len(marked()) > 10
    assert {row["test"].partition("[")[0] for row in known()} <= set(marked())
    assert PAGE.read_text(encoding="utf-8") == page(known()), "run `python -m docs.faults`"


def test_every_fault_ended_as_expected() -> None:
    assert [row["test"] for row in known() if row["outcome"] != "passed"] == []
