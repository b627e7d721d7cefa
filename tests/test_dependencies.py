"""What a rule runs is its input, so that an edited module reruns it."""

import re
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from handhold import study
from handhold.io import COLUMNS

WORKFLOW = Path(__file__).parents[1] / "workflow"
SCRIPTS = sorted(path.stem for path in (WORKFLOW / "scripts").glob("*.py"))
RULE_FILES = sorted((WORKFLOW / "rules").glob("*.smk"))


def imported(script):
    """Find the modules of the package that a script imports, from the compiled code."""
    finder = ModuleFinder([str(WORKFLOW)])  # nothing but the package is found
    finder.run_script(str(WORKFLOW / "scripts" / f"{script}.py"))
    parts = [name.split(".") for name in finder.modules]
    return {part[1] for part in parts if part[0] == "handhold" and len(part) > 1}


def rules():
    """Return the text of every rule by its name."""
    found = {}
    for path in RULE_FILES:
        text = path.read_text(encoding="utf-8")
        pieces = re.split(r"^ *(?:rule|checkpoint) +(\w+) *:", text, flags=re.MULTILINE)
        assert not set(pieces[1::2]) & set(found)
        found |= dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_code_of_a_rule_is_all_that_its_script_imports(script):
    code = [Path(path) for path in study.list_code(script)]
    assert len(code) == len(set(code))
    assert all(path.is_file() for path in code)
    own = imported(script)
    assert own
    modules = {path.stem for path in code if path.suffix == ".py"}
    assert modules == own
    tables = [path.resolve() for path in code if path.suffix != ".py"]
    assert tables == ([COLUMNS.resolve()] if "io" in own else [])


def test_code_is_followed_through_modules():
    direct = (WORKFLOW / "scripts" / "test_correspondence.py").read_text("utf-8")
    code = {Path(path).name for path in study.list_code("test_correspondence")}
    assert "nulls.py" in code
    assert "handhold.nulls" not in direct
    assert "columns.yaml" in code
    assert COLUMNS.name == "columns.yaml"


def test_every_script_has_a_rule():
    assert sorted(rules()) == SCRIPTS


@pytest.mark.parametrize("rule", sorted(rules()))
def test_every_rule_names_its_own_code_and_script(rule):
    text = rules()[rule]
    assert re.findall(r"\bcode_of\((.*?)\)", text) == [f'"{rule}"']
    chosen = text.partition("params:")[2].partition("script:")[0]
    assert f'code=code_of("{rule}")' in chosen
    assert re.findall(r"scripts/(\w+)\.py", text) == [rule]
