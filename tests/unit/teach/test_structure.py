import copy

import pytest

from mlops_helpers.teach import structure
from tests.support.tiny_notebooks import chapter, notebook, save

TITLE, PARAMETERS, VALIDATION, IMPORTS, FIRST, CLEAN, SUMMARY = 0, 2, 4, 6, 8, 13, 15


def source(index, text):
    def change(nb):
        nb["cells"][index]["source"] = text

    return change


def cell(index, **changes):
    def change(nb):
        nb["cells"][index].update(changes)

    return change


def output(**content):
    return {"output_type": "display_data", "metadata": {}, "data": content}


def drop(index):
    def change(nb):
        del nb["cells"][index]

    return change


def old_minor(nb):
    nb["nbformat_minor"] = 4


def other_kernel(nb):
    nb["metadata"]["kernelspec"]["name"] = "ir"


def retag(nb):
    nb["cells"][PARAMETERS]["metadata"] = {}


MUTANTS = [
    ("format", cell(3, id="cell-2")),
    ("format", old_minor),
    ("format", cell(3, outputs=[])),
    ("kernel", other_kernel),
    ("title", source(TITLE, "Hello")),
    ("title", source(TITLE, "# 07. Try\n\ndo learn need minutes consumes produces")),
    ("title", source(TITLE, "# 01. Try\n\ndo learn need minutes consumes")),
    ("parameters", source(PARAMETERS, "n: int = 3")),
    ("parameters", source(PARAMETERS, "n = 3  # how many")),
    ("parameters", source(PARAMETERS, "n: int = 'three'  # how many")),
    ("parameters", source(PARAMETERS, "n: int = 1 + len('ab')  # how many")),
    ("parameters", retag),
    ("validation", source(VALIDATION, "n = n")),
    ("imports", source(FIRST, "import os\nprint(n)")),
    ("imports", source(IMPORTS, "x = 1")),
    ("imports", source(VALIDATION, "import os\nif n < 1:\n    raise ValueError(n)")),
    ("markdown-first", drop(FIRST - 1)),
    ("short-cells", source(CLEAN + 1, "\n".join("n = 1" for _ in range(16)))),
    ("plain-python", source(CLEAN + 1, "!ls")),
    ("plain-python", source(CLEAN + 1, "%time n = 1")),
    ("plain-python", source(CLEAN + 1, "n = (")),
    ("plain-python", source(CLEAN + 1, "get_ipython()")),
    ("star-imports", source(IMPORTS, "from math import *")),
    ("sys-path", source(IMPORTS, "import sys\nsys.path.append('x')")),
    ("checks", cell(FIRST, outputs=[])),
    ("checks", cell(FIRST, execution_count=None)),
    ("checks", lambda nb: nb["cells"][FIRST].update(metadata={}, outputs=[], execution_count=None)),
    ("other-outputs", cell(CLEAN + 1, execution_count=7)),
    ("other-outputs", cell(CLEAN + 1, outputs=[output(**{"text/plain": "x"})])),
    ("errors", cell(FIRST, outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}])),
    ("machine-paths", source(CLEAN + 1, "n = '/home/me/x'")),
    ("machine-paths", source(CLEAN + 1, "n = r'C:\\x'")),
    ("machine-paths", cell(FIRST, outputs=[output(**{"text/plain": ["in ", "/tmp/x\n"]})])),
    ("pictures", cell(FIRST, outputs=[output(**{"image/png": "aaaa", "text/plain": "<Figure>"})])),
    ("clean-up", source(CLEAN, "## The end")),
    ("summary", source(SUMMARY, "## The end")),
]


def test_good_chapter_breaks_nothing(tmp_path):
    assert structure.check([save(tmp_path / "01_good.ipynb", chapter())]) == []


@pytest.mark.parametrize(("rule", "mutate"), MUTANTS, ids=[f"{rule}-{i}" for i, (rule, _) in enumerate(MUTANTS)])
def test_broken_rule_is_reported_alone(tmp_path, rule, mutate):
    nb = copy.deepcopy(chapter())
    mutate(nb)
    breaches = structure.check([save(tmp_path / "01_mutant.ipynb", nb)])
    assert {breach.rule for breach in breaches} == {rule}
    assert "01_mutant.ipynb:" in str(breaches[0])


def test_each_rule_has_a_mutant_and_a_summary():
    assert {rule.name for rule in structure.CHAPTER_RULES} == {rule for rule, _ in MUTANTS}
    assert all(rule.summary for rule in structure.CHAPTER_RULES)


def test_all_breaches_of_all_notebooks_are_collected(tmp_path):
    paths = [save(tmp_path / "01_a.ipynb", chapter() | {"metadata": {}}), save(tmp_path / "02_b.ipynb", notebook())]
    paths[1].write_text("{", encoding="utf-8")
    breaches = structure.check(paths)
    assert [breach.rule for breach in breaches] == ["kernel", "readable"]


def test_other_kinds_of_notebooks_take_fewer_rules(tmp_path):
    rules = [rule for rule in structure.CHAPTER_RULES if rule.name != "summary"]
    nb = chapter()
    nb["cells"].pop()
    assert structure.check([save(tmp_path / "01_runbook.ipynb", nb)], rules) == []
