"""The configuration: its schema, its defaults, and errors that name the nearest key."""

import difflib
import re
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import yaml

from handhold.errors import StudyError

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"

# What a study of each source makes no use of: refused where given, absent once resolved.
IDLE = {
    "simulated": ("maps", "ratings", "unit", "bids", "events", "fmriprep"),
    "bids": ("maps", "simulate", "unit"),
    "maps": ("simulate", "bids", "events", "glm", "confounds", "fmriprep"),
}
# What a study of each source cannot do without, though other studies can.
NEEDED = {"simulated": (), "bids": ("bids", "events"), "maps": ("maps", "unit")}

# Fewer surrogates over voxels than any other null may have give a p that says little.
FEWEST_NULLS = 999

# No study needs a configuration of more keys, values and items, each counted as often as it is
# named (a list of 100,000 people has as many), nor of more bytes.
MOST_VALUES = 500_000
LARGEST_FILE = 3_000_000
DEEPEST = 30
# What YAML may call a value: no code, no bytes, no sets.
TAGS = {"str", "int", "float", "bool", "null", "timestamp", "merge", "seq", "map"}
# Snakemake takes {name} in a text that a rule is given for a wildcard.
BRACES = {*"{}"}
TEMPLATES = {"maps.image_template", "maps.variance_template"}
# Longest text that a message quotes.
SHOWN = 80
# The key that has Snakemake run Python that stands in a configuration (yte).
RUNS_CODE = "__use_yte__"
# Numbers beyond float are no choice.
HUGE = 2**1000

_DRAFT = jsonschema.Draft202012Validator
# YAML has .nan and .inf, and nan lies outside no bound; no key of ours may be either.
_VALIDATOR = jsonschema.validators.extend(
    _DRAFT,
    type_checker=_DRAFT.TYPE_CHECKER.redefine(
        "number",
        lambda checker, value: (
            _DRAFT.TYPE_CHECKER.is_type(value, "number") and -HUGE < value < HUGE
        ),
    ),
)


@cache
def schema() -> dict:
    """Return the JSON schema of the configuration, which nobody changes."""
    # libyaml, where it is there, takes a tenth of the time that Python's parser does
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=loader)


def resolve(config: dict) -> dict:
    """Fill the defaults of a configuration, having checked every key of it.

    Parameters
    ----------
    config : dict
        As read from the study's YAML file.

    Returns
    -------
    dict
        A new dictionary with every key of the schema that has a default and that the source
        makes use of.

    Raises
    ------
    StudyError
        With all faults at once: a misspelled key (and the nearest name), a missing
        key, a value out of its range, sections that do not go together.
    """
    rules = schema()
    faults = _oddities(config) or [
        _word(error)
        for error in sorted(
            _VALIDATOR(rules).iter_errors(config),
            key=lambda error: error.json_path,
        )
    ]
    if not faults:
        given, config = config, _fill(config, rules)
        faults = _contradictions(config) + _idle_sections(given)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"the configuration has {len(faults)} "
            f"{'fault' if len(faults) == 1 else 'faults'}:\n{listed}\n"
            "config/README.md explains every key."
        )
    return {
        name: value
        for name, value in config.items()
        if name not in IDLE[config["source"]]
    }


def require_readable(paths: Iterable[str | Path]) -> None:
    """Refuse configuration files that say a thing twice, or that YAML reads in a way of its own.

    Of a key that is there twice YAML takes the second without a word.

    Raises
    ------
    StudyError
        With file and line: if a file is no UTF-8 text or no YAML, has a key twice or a tag, or
        says that Python in it is to be run.
    """
    for path in paths:
        try:
            if Path(path).stat().st_size > LARGEST_FILE:
                raise ValueError(f"it has more than {LARGEST_FILE} bytes")
            # not libyaml, which crashes on a hundred thousand brackets
            loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
            tree = loader.get_single_node()
            faults = list(_node_faults(tree))
            if not faults:
                loader.construct_document(tree)
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            reason = " ".join(str(error).split())[:300] or "it is nested too deeply"
            raise StudyError(
                f"the configuration file {path} cannot be read as YAML in UTF-8: {reason}. Blanks, "
                "not tabs, indent YAML; quote texts that hold a colon."
            ) from error
        if faults:
            listed = "\n".join(f"  - {fault}" for fault in faults[:SHOWN])
            raise StudyError(
                f"the configuration file {path} has {len(faults)} "
                f"{'fault' if len(faults) == 1 else 'faults'}:\n{listed}\nMend the file."
            )


def _node_faults(tree: yaml.Node | None) -> Iterable[str]:
    """Yield what no loader complains of, each node looked at once."""
    if not isinstance(tree, yaml.MappingNode):
        yield "it holds no keys"
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        line = node.start_mark.line + 1
        if node.tag.removeprefix("tag:yaml.org,2002:") not in TAGS:
            yield f"line {line}: the tag {node.tag[:SHOWN]} is not plain YAML"
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
            names = [
                key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)
            ]
            yield from (
                f"line {line}: the key {name[:SHOWN]} is given {names.count(name)} times"
                for name in dict.fromkeys(names)
                if names.count(name) > 1
            )
            if RUNS_CODE in names:
                yield f"line {line}: {RUNS_CODE} would run Python that stands in the file"
            if len(names) < len(node.value):
                yield f"line {line}: a key is no text"


def results_folder(config: dict) -> str:
    """Return where results go, also of a configuration that was refused (and is to be fetched).

    Examples
    --------
    >>> results_folder({"study": "coan2006"}), results_folder({"study": "../../etc"})
    ('results/coan2006', 'results/unnamed')
    """
    named, rules = config.get("study"), schema()["properties"]["study"]
    return f"results/{named if _VALIDATOR(rules).is_valid(named) else 'unnamed'}"


def random_stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random numbers of one rule: others' draws do not move them."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def keys(rules: dict | None = None, prefix: str = "") -> dict[str, dict]:
    """Return every key of the schema by its dotted path, with its entry."""
    rules = schema() if rules is None else rules
    found = {}
    for name, entry in rules.get("properties", {}).items():
        path = f"{prefix}{name}"
        found[path] = entry
        found |= keys(entry, f"{path}.")
        found |= keys(entry.get("items", {}), f"{path}[].")
    return found


def document() -> str:
    """Return config/README.md: each key with its meaning, unit, default and reason."""
    lines = [
        "# Configuration",
        "",
        "A study is one YAML file: `snakemake --cores all --configfile config/<study>.yaml`.",
        "Without one, `config/config.yaml` (the simulated study) is run. This page is written",
        "from `workflow/schemas/config.schema.yaml` by `python -m handhold.spec`.",
        "",
        "| key | meaning | values | default | why |",
        "| --- | --- | --- | --- | --- |",
    ]
    required = _required(schema())
    for path, entry in keys().items():
        default = entry.get("default", "required" if path in required else "none")
        section = entry.get("type") == "object" and "properties" in entry
        cells = (
            f"`{path}`",
            f"**{entry['description']}**" if section else entry["description"],
            "" if section else _values(entry),
            "" if section else _default(default),
            entry.get("reason", ""),
        )
        lines.append(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        )
    return "\n".join(lines) + "\n"


def _oddities(config: Any) -> list[str]:
    """List what YAML can hold and no key takes: too much, too deep, or text that is none."""
    faults: list[str] = []
    waiting, seen = [("", config, 0)], 0
    while waiting and len(faults) < SHOWN:
        where, value, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            return [f"it has more than {MOST_VALUES} values, counted as often as named"]
        if depth > DEEPEST:
            return [f"{where[:SHOWN]}: nested more than {DEEPEST} levels deep"]
        if isinstance(value, str) and not _is_text(value):
            faults.append(
                f"{where[:SHOWN]} holds a character that no text has ({_quote(value)})"
            )
        elif isinstance(value, str) and BRACES & set(value) and where not in TEMPLATES:
            faults.append(
                f"{where[:SHOWN]} holds a brace, between which Snakemake would fill something in "
                f"({_quote(value)})"
            )
        elif isinstance(value, dict):
            for name, below in value.items():
                inside = f"{where}.{name}" if where else str(name)
                if not isinstance(name, str | int) or isinstance(name, bool):
                    faults.append(
                        f"{inside[:SHOWN]}: the key {_quote(name)} is no text; quote it"
                    )
                waiting += [(inside, name, depth), (inside, below, depth + 1)]
        elif isinstance(value, list):
            waiting += [(f"{where}[{i}]", v, depth + 1) for i, v in enumerate(value)]
        elif isinstance(value, int) and not -HUGE < value < HUGE:
            faults.append(f"{where[:SHOWN]} is a number beyond all that is counted")
    return faults


def _is_text(value: str) -> bool:
    """Tell text that every file can hold: no control characters, no half of a pair."""
    return not any(
        (c < " " and c not in "\t\n\r") or c == "\x7f" or "\ud800" <= c <= "\udfff"
        for c in value
    )


def _quote(value: object) -> str:
    """Quote a value, shortened: messages show it, and it may be a book."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def _fill(value: Any, rules: dict) -> Any:
    if isinstance(value, list) and "items" in rules:
        return [_fill(item, rules["items"]) for item in value]
    if rules.get("type") == "integer":
        return int(
            value
        )  # 1.0e+4 is a whole number to the schema and a float to Python
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, entry in rules.get("properties", {}).items():
        if name not in filled and "default" in entry:
            filled[name] = entry["default"]
        if name in filled:
            filled[name] = _fill(filled[name], entry)
    return filled


def _idle_sections(given: dict) -> list[str]:
    """List the sections that the study's source makes no use of."""
    return [
        f"source is {given['source']}, so that {name} has no effect: remove it"
        for name in IDLE[given["source"]]
        if name in given
    ]


def _contradictions(config: dict) -> list[str]:
    """List the faults that no single key shows."""
    faults = [
        f"source is {config['source']}, but there is no {name}: {_meaning(schema(), name)}"
        for name in NEEDED[config["source"]]
        if name not in config
    ]
    if "maps" in config:
        columns = config["maps"]["columns"]
        if ("image" in columns) == ("image_template" in config["maps"]):
            faults.append("give one of maps.columns.image and maps.image_template")
        if "variance" in columns and "variance_template" in config["maps"]:
            faults.append(
                "give one of maps.columns.variance and maps.variance_template"
            )
        cells = "condition" in columns and "cue" in columns
        if cells + ("contrast" in columns) + ("contrast" in config["maps"]) != 1:
            faults.append(
                "give maps.columns.condition with maps.columns.cue, or one of "
                "maps.columns.contrast and maps.contrast"
            )
    if "ratings" in config:
        faults += _rating_contradictions(config)
    if config["source"] == "bids" and "events" in config:
        faults += _events_contradictions(config["events"], config["contrasts"])
        used = "events" in config.get("ratings", {}) or config["glm"]["single_trials"]
        if "rating" in config["events"] and not used:
            faults.append(
                "events.rating has no effect without ratings.events (relief from these ratings) "
                "or glm.single_trials (ratings beside the trials)"
            )
    names = [contrast["name"] for contrast in config["contrasts"]]
    faults += [
        f"contrasts: the name {name} is given {names.count(name)} times"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    faults += [
        f"ratings.relief: {name} is not the name of a contrast; {advise(name, names)}"
        for name in config.get("ratings", {}).get("relief", {})
        if name not in names
    ]
    if config["fmriprep"]["run"] and "license_file" not in config["fmriprep"]:
        faults.append(
            "fmriprep.run needs fmriprep.license_file, a licence of FreeSurfer (free)"
        )
    published = config.get("bids", {}).get("openneuro", {}).get("derivatives")
    if config["fmriprep"]["run"] and published:
        faults.append(
            f"fmriprep.run would preprocess into the folder that holds {published} "
            "(bids.openneuro.derivatives), two versions in one: remove the one or the other"
        )
    if config["receptors"]["target"] in config["receptors"]["panel"]:
        faults.append("receptors.panel repeats receptors.target")
    regions, n_voxel = config["regions"], config["nulls"]["n_voxel"]
    if regions["sensitivity_coverage"] > regions["min_coverage"]:
        faults.append(
            f"regions.sensitivity_coverage ({regions['sensitivity_coverage']}) is above "
            f"regions.min_coverage ({regions['min_coverage']}): the second look is at regions "
            "that are covered less"
        )
    if 0 < n_voxel < FEWEST_NULLS:
        faults.append(
            f"nulls.n_voxel is {n_voxel}: give 0 (no voxels), or at least {FEWEST_NULLS}, since "
            "no p can be below one over their number"
        )
    faults += _rule_contradictions(config["verdicts"]["rules"])
    return faults + _design_contradictions(config["glm"], config["confounds"])


def _rule_contradictions(rules: list[dict]) -> list[str]:
    """List lines of the rule table that can never be reached, or support what is not shown."""
    asked = [set(line["if"]) for line in rules]
    faults = [
        f"verdicts.rules[{later}] is never reached: verdicts.rules[{earlier}] takes all that it "
        "would; order them from the narrowest to the widest"
        for later in range(len(rules))
        for earlier in range(later)
        if asked[earlier] <= asked[later]
    ]
    faults += [
        f"verdicts.rules[{i}] supports without {fact}, so that {what} could be called supported"
        for i, line in enumerate(rules)
        if line["verdict"] == "supported"
        for fact, what in (
            ("p_passes", "chance"),
            ("positive", "the opposite of what was asked"),
        )
        if fact not in line["if"]
    ]
    shows_absence = ({"equivalent"}, {"bf_against"}, {"p_passes", "negative"})
    faults += [
        f"verdicts.rules[{i}] says evidence against without equivalent, bf_against, or p_passes "
        "with negative, so that too little data could be called an absence"
        for i, line in enumerate(rules)
        if line["verdict"] == "evidence against"
        and not any(facts <= asked[i] for facts in shows_absence)
    ]
    faults += [
        f"verdicts.rules[{i}] is never reached: no effect is positive and negative"
        for i, facts in enumerate(asked)
        if {"positive", "negative"} <= facts
    ]
    if asked[-1]:
        faults.append(
            "verdicts.rules: the last line has facts, so that some evidence would have no "
            "verdict; end with a line whose if is []"
        )
    return faults


def _design_contradictions(glm: dict, confounds: dict) -> list[str]:
    """List the faults between the drifts of the design and its confounds."""
    cosine, strategy = glm["drift"] == "cosine", confounds["strategy"]
    faults = []
    if cosine and "high_pass" in strategy:
        faults.append(
            "glm.drift is cosine and confounds.strategy has high_pass, so that the design would "
            "hold the same cosines twice: put glm.drift to none (fMRIPrep's cosines, which "
            "compcor needs), or take high_pass out (cosines up to glm.high_pass_s)"
        )
    if not cosine and "high_pass" not in strategy:
        faults.append(
            "glm.drift is none and confounds.strategy has no high_pass, so that nothing removes "
            "the scanner's drift: put glm.drift to cosine, or add high_pass"
        )
    if "compcor" in strategy and "high_pass" not in strategy:
        faults.append(
            "confounds.strategy has compcor without high_pass, but fMRIPrep takes these "
            "components from signals that its cosines have filtered: add high_pass and put "
            "glm.drift to none"
        )
    return faults


def _rating_contradictions(config: dict) -> list[str]:
    """List the faults between the section ratings and the rest."""
    rated, faults = config["ratings"], []
    forms = [form for form in ("wide", "long", "relief", "events") if form in rated]
    if len(forms) != 1:
        faults.append(
            "give one of ratings.wide, ratings.long, ratings.relief and ratings.events "
            f"(given: {', '.join(forms) or 'none'})"
        )
    elif forms == ["events"]:
        faults += [
            f"ratings.events takes the ratings from the events, so that ratings.{key} has no "
            "effect: remove it"
            for key in ("table", "subject")
            if key in rated
        ]
        if config["source"] != "bids" or "rating" not in config.get("events", {}):
            faults.append(
                "ratings.events needs source bids and events.rating, which says where the "
                "rating of a trial stands"
            )
    else:
        faults += [
            f"ratings.{forms[0]} needs ratings.{key}"
            for key in ("table", "subject")
            if key not in rated
        ]
    return faults


def _events_contradictions(events: dict, contrasts: list[dict]) -> list[str]:
    """List what keys of the section events say against each other, and against the contrasts."""
    rule, cells = events.get("condition"), events["cells"]
    named = {cell["condition"] for cell in cells if "condition" in cell}
    faults = []
    if rule is None and not all("condition" in cell for cell in cells):
        faults.append(
            "give events.condition, or a condition in every one of events.cells"
        )
    elif rule is not None and named:
        faults.append(
            "events.condition and events.cells both name conditions; give one of them"
        )
    elif rule is not None and len(rule) != 1:
        faults.append("give one of events.condition.column and events.condition.run")
    if events["rename"] and "column" not in (rule or {}):
        faults.append(
            "events.rename has no effect without events.condition.column: remove it"
        )
    types = [cell["trial_type"] for cell in cells]
    types += [*events["others"], *events["ignore"]]
    faults += [
        f"events: the trial type {name} is given {types.count(name)} times (events.cells, "
        "events.others, events.ignore)"
        for name in sorted(set(types))
        if types.count(name) > 1
    ]
    rated = events.get("rating", {}).get("trial_type")
    if rated is not None and rated not in [*events["others"], *events["ignore"]]:
        faults.append(
            f"events.rating.trial_type: put {rated} into events.others (modelled) or "
            "events.ignore (not modelled) as well"
        )
    if faults:
        return faults
    return _contrast_contradictions(events, contrasts)


def _contrast_contradictions(events: dict, contrasts: list[dict]) -> list[str]:
    """List contrasts that the events cannot give, as far as the configuration shows it."""
    faults = [
        f"contrasts: {contrast['name']} is of images, and source is bids: give baseline and held"
        for contrast in contrasts
        if "image" in contrast
    ]
    rule, cells = events.get("condition", {}), events["cells"]
    if "column" in rule:
        known = None
    else:
        known = {*rule.get("run", {}).values()} or {c["condition"] for c in cells}
    used = {
        contrast[side]: f"contrasts: {contrast['name']}.{side}"
        for contrast in reversed(contrasts)
        for side in ("held", "baseline")
        if side in contrast
    }
    for condition, where in used.items():
        if known is not None and condition not in known:
            faults.append(
                f"{where} is {condition}, which is no condition of the events; "
                f"{advise(condition, sorted(known))}"
            )
            continue
        cues = {c["cue"] for c in cells if c.get("condition", condition) == condition}
        faults += [
            f"{where} is {condition}, for which events.cells has no {cue} trial type"
            for cue in ("threat", "safe")
            if cue not in cues
        ]
    return faults


def _word(error: jsonschema.ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        patterns = error.schema.get("patternProperties", {})
        strangers = [
            name
            for name in error.instance
            if name not in known and not any(re.search(p, str(name)) for p in patterns)
        ]
        return "; ".join(_stranger(where, name, known) for name in strangers)
    if error.validator == "required":
        # jsonschema raises one error per missing key, and names it in the message only
        missing = next(
            key for key in error.validator_value if error.message.startswith(repr(key))
        )
        prefix = f"{where}." if where else ""
        return f"{prefix}{missing} is required: {_meaning(error.schema, missing)}"
    if error.validator == "oneOf" and where.startswith("contrasts"):
        return (
            f"{where}: give baseline and held (conditions), or image and direction "
            "(for images that already hold the contrast), not a mixture"
        )
    meaning = error.schema.get("description", "")
    whole = repr(error.instance)
    message = error.message
    if len(whole) > SHOWN:
        message = message.replace(whole, _quote(error.instance))
    return f"{where or 'the file'}: {message}" + (f" ({meaning})" if meaning else "")


def _stranger(where: str, name: Any, known: list[str]) -> str:
    path = f"{where}.{name}" if where else str(name)
    return f"{path[:SHOWN]} is not a key; {advise(str(name)[:SHOWN], known)}"


def advise(name: str, known: list[str]) -> str:
    """Name the known word nearest to a misspelled one, or all of them."""
    # letters that changed places first: difflib finds little in common in tsets and tests
    near = [other for other in known if sorted(other) == sorted(name)]
    near += difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _meaning(rules: dict, name: str) -> str:
    return rules.get("properties", {}).get(name, {}).get("description", "see the page")


def _required(rules: dict, prefix: str = "") -> set[str]:
    found = {f"{prefix}{name}" for name in rules.get("required", [])}
    for name, entry in rules.get("properties", {}).items():
        found |= _required(entry, f"{prefix}{name}.")
        found |= _required(entry.get("items", {}), f"{prefix}{name}[].")
    return found


def _default(value: Any) -> str:
    """Write a default; a table (list of mappings) line by line."""
    is_table = isinstance(value, list) and any(isinstance(line, dict) for line in value)
    lines = value if is_table else [value]
    return "<br>".join(f"`{line}`" for line in lines)


def _values(entry: dict) -> str:
    if "enum" in entry:
        return ", ".join(str(value) for value in entry["enum"])
    bounds = [
        f"{sign} {entry[key]}"
        for key, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
            ("exclusiveMaximum", "<"),
        )
        if key in entry
    ]
    kind = entry.get("type", "")
    return ", ".join(part for part in (kind, *bounds, entry.get("unit", "")) if part)


if __name__ == "__main__":
    print(document(), end="")
