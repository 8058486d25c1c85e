from pathlib import Path

import pytest

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach import parameters
from mlops_helpers.teach.documents import Document
from tests.support import tiny_notebooks


def document(source, name="nb"):
    cell = tiny_notebooks.parameters(source)
    return Document(Path(f"{name}.ipynb"), tiny_notebooks.notebook(cell))


def value(text, kind="str"):
    return parameters.declared(document(f"x: {kind} = None  # x"))["x"].accept(text)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", "5", 5),
        ("int", "-5", -5),
        ("float", "5", 5.0),
        ("float", "1e-3", 0.001),
        ("bool", "true", True),
        ("bool", "False", False),
        ("str", "5", "5"),
        ("str", "None", "None"),
        ("str", "'quoted'", "'quoted'"),
        ("str", "", ""),
        ("str", "a = b # c\n\"q\" 'r' é 👍🏽 \\n", "a = b # c\n\"q\" 'r' é 👍🏽 \\n"),
        ("int | None", "5", 5),
        ("int | None", "None", None),
        ("str | None", "None", None),
        ("str | None", "five", "five"),
        ("int | str", "5", 5),
        ("Literal['a', 'b']", "b", "b"),
        ("Literal[1, 2]", "2", 2),
        ("list[str]", "['a', 'b']", ["a", "b"]),
        ("tuple[int, int]", "(1, 2)", (1, 2)),
        ("dict[str, float]", "{'a': 1}", {"a": 1.0}),
        ('"int | None"', "5", 5),
    ],
)
def test_text_becomes_a_value_of_the_type(kind, text, expected):
    got = value(text, kind)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "five"),
        ("int", "1.5"),
        ("int", "True"),
        ("int", ""),
        ("float", "1e999"),
        ("bool", "1"),
        ("Literal['a', 'b']", "c"),
        ("int | None", "x"),
        ("list[int]", "['a']"),
    ],
)
def test_refusal_names_what_was_found_what_is_accepted_and_an_example(kind, text):
    with pytest.raises(ParameterError) as caught:
        value(text, kind)
    message = str(caught.value)
    assert repr(text) in message
    assert kind in message
    assert "Example: -p x" in message


def test_python_value_is_taken_as_it_is():
    doc = document("x: int = 1  # x")
    assert parameters.declared(doc)["x"].accept(7) == 7
    with pytest.raises(ParameterError, match=r"found 7\.5 \(float\)"):
        parameters.declared(doc)["x"].accept(7.5)


def test_cell_is_parsed_with_its_help_and_never_executed():
    doc = document(
        "from typing import Literal\n"
        "source: Literal['a', 'b'] = 'a'  # where from\n"
        "note: str = 'x = 1 # y'  # quoted = and #\n"
        "limit: int | None = None\n"
        "low: float = -0.5  # below zero"
    )
    found = parameters.declared(doc)
    assert [(p.name, p.default, p.help) for p in found.values()] == [
        ("source", "a", "where from"),
        ("note", "x = 1 # y", "quoted = and #"),
        ("limit", None, ""),
        ("low", -0.5, "below zero"),
    ]
    assert "where from" in parameters.describe(doc)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("x = 1", "not of the form"),
        ("x: int", "not of the form"),
        ("print(1)", "not of the form"),
        ("x: int = len('a')", "a literal is needed"),
        ("x: Path = 'a'", "is not understood"),
        ("x: int = 1\nx: int = 2", "twice"),
        ("x: int = (", "does not parse"),
    ],
)
def test_bad_cell_is_refused(line, complaint):
    with pytest.raises(ParameterError, match=complaint):
        parameters.declared(document(line))


def test_unknown_name_lists_what_is_accepted():
    docs = [document("n_comments: int = 3  # how many", "a"), document("seed: int = 1  # seed", "b")]
    with pytest.raises(ParameterError) as caught:
        parameters.assign(docs, {"n_coments": "5"})
    message = str(caught.value)
    assert "Did you mean n_comments?" in message
    assert "how many" in message
    assert "seed" in message


def test_name_that_some_declare_goes_to_those():
    docs = [document("n: int = 3  # n", "a"), document("seed: int = 1  # seed", "b")]
    assignments, remarks = parameters.assign(docs, {"seed": "5"})
    assert [a.values for a in assignments] == [{}, {"seed": 5}]
    assert remarks == ["seed goes to b.ipynb only: the others do not declare it"]


def test_default_given_again_changes_nothing():
    assignments, _ = parameters.assign([document("n: int = 3  # n\nf: bool = True  # f")], {"n": "3", "f": "True"})
    assert assignments[0].changed == ()


def test_true_is_not_1():
    with pytest.raises(ParameterError, match="accepted is int"):
        parameters.assign([document("n: int = 1  # n")], {"n": True})
    assignments, _ = parameters.assign([document("n: int | bool = 1  # n\nf: float = 2  # f")], {"n": True, "f": 2.0})
    assert [type(value) for value in assignments[0].values.values()] == [bool, float]
    assert assignments[0].changed == ("n", "f")


@pytest.mark.parametrize("given", ["\udcff", "a\ud800b"])
def test_what_is_not_text_is_refused(given):
    with pytest.raises(ParameterError, match="not UTF-8"):
        parameters.assign([document("s: str = 'x'  # s")], {"s": given})


def test_text_nested_too_deeply_to_be_a_literal_stays_text():
    assert value("(" * 100_000) == "(" * 100_000
