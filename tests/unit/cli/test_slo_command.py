"""`harness slo lint` and `rules`: recorded cases of others, and our own form. Runs the commands in this process.

Rule files are compared as sets of rules, expressions by their tokens: what no reader of PromQL sees does not count.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.adapters.declarations import parse_yaml
from harness.core.errors import Invalid
from tests.command_line import COMMANDS

ROOT = Path(__file__).parents[3]
SHELF = ROOT.parent / "shared/fixtures/slo"

_TOKENS = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*|[A-Za-z_:][A-Za-z0-9_:]*'
    r"|(?:[0-9]*\.)?[0-9]+(?:[eE][-+]?[0-9]+)?[a-z0-9]*|[<>=!~]+|\S"
)


def shelf(kind: str) -> list[Any]:
    if not SHELF.is_dir():
        return [pytest.param(None, id=kind, marks=pytest.mark.skip(reason="no fixture shelf at ../shared/fixtures"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads((SHELF / "manifest.json").read_text())[kind]]


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    COMMANDS(["slo", *words], standalone_mode=False)
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a refusal says; nothing may have been printed."""
    with pytest.raises(Invalid) as error:
        typed(capsys, *words)
    assert capsys.readouterr().out == ""
    return str(error.value)


def tokens(expression: str) -> str:
    found = [token for token in _TOKENS.findall(expression) if not token.startswith("#")]
    numbers = [f"{float(each):.9g}" if re.fullmatch(r"[0-9.]+([eE][-+]?[0-9]+)?", each) else each for each in found]
    text = " ".join(f'"{each[1:-1]}"' if each[0] in "\"'`" else each for each in numbers)
    text = re.sub(r"\{ ([^}]*) \}", lambda match: f"{{ {_ordered(match[1])} }}", text)
    return re.sub(r"\b(by|on|without|ignoring) \( ([^)]*) \)", lambda match: f"{match[1]} {_ordered(match[2])}", text)


def _ordered(items: str) -> str:
    return " , ".join(sorted(items.split(" , ")))


def rules_of(text: str) -> list[dict[str, Any]]:
    """Every rule of a file in one order; what names the program that wrote it is left out."""
    rules = [rule for group in parse_yaml(text, "rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        assert all(isinstance(value, str) for value in rule["labels"].values())
        for said in ("sloth_version", "sloth_mode"):
            if rule.get("record") == "sloth_slo_info":
                assert rule["labels"].pop(said)
        rule["expr"] = tokens(rule["expr"])
        if "annotations" in rule:
            rule["annotations"] = {key: " ".join(value.split()) for key, value in rule["annotations"].items()}
    return sorted(rules, key=lambda rule: json.dumps(rule, sort_keys=True))


@pytest.mark.parametrize("case", shelf("pairs"))
def test_a_recorded_document_gives_the_recorded_rules(case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given = [word.replace("{dir}", str(SHELF)) for word in case["args"]]

    rules = typed(capsys, "rules", str(SHELF / case["input"]), "--format", case["format"], *given)

    assert rules_of(rules) == rules_of((SHELF / case["golden"]).read_text())


@pytest.mark.parametrize("case", shelf("lint"))
def test_a_recorded_document_gets_the_recorded_verdict(
    case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(SHELF / case["file"]), "--format", case["format"]]
    commands = ["lint", *(["rules"] if case.get("rules") else [])]

    for command in commands:
        if case["expect"] == "valid":
            assert typed(capsys, command, *words)
        else:
            told = refused(capsys, command, *words)
            assert all(re.match(r".+?: .+", line) for line in told.splitlines())
            assert case.get("names", "") in told


@pytest.mark.parametrize("case", shelf("refuse"))
def test_a_recorded_document_that_asks_for_more_is_refused(
    case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "rules", str(SHELF / case["file"]), "--format", case["format"], *case["args"])


def one(tmp_path: Path, text: str) -> str:
    path = tmp_path / "slos.yaml"
    path.write_text(text)
    return str(path)


def test_objectives_of_the_sample_service_become_rules_with_the_factors_of_the_watch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = rules_of(typed(capsys, "rules", str(ROOT / "slos/ratelimiter.yaml"), "--extra-labels", "team=edge"))

    by_name = {rule.get("record", rule.get("alert")): rule for rule in rules if "latency" in json.dumps(rule)}
    alert = by_name["RatelimiterLatencyBurn"]
    assert "( 2.5 * 0.1 )" in alert["expr"] and "ratio_rate12s" in alert["expr"] and "ratio_rate3s" in alert["expr"]
    assert alert["labels"] == {"sloth_severity": "page"}
    assert by_name["slo:sli_error:ratio_rate12s"]["labels"]["team"] == "edge"
    assert by_name["slo:sli_error:ratio_rate12s"]["expr"].startswith("( sum ( rate ( traffic_slow_total {")


def test_the_sample_objectives_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, "lint", str(ROOT / "slos/ratelimiter.yaml")).endswith(": fine\n")


@pytest.mark.parametrize(
    ("first", "form"), [("version: prometheus/v1", "sloth"), ("apiVersion: openslo/v1", "openslo")]
)
def test_a_document_in_another_form_is_told_how_to_name_it(
    first: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(f"{first}\nservice: a\n")

    assert refused(capsys, "lint", str(path)) == f"{path}: {first} is not our form; say --format {form}"


def test_a_folder_without_an_objective_is_not_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no objective" in refused(capsys, "lint", str(tmp_path))


@pytest.mark.parametrize(
    ("slo", "told"),
    [
        ("{name: latency, target: 99.9%, window: 30d}", "metric 'latency' is no ratio"),
        ("{name: a1, service: other, target: 99%, window: 30d}", "service 'other' has no service.yaml"),
        ("{name: a1, target: 90%, window: 30d, indicator: {ratio: {bad: b, total: t}}}", "can never fire"),
        ("{name: a1, target: 99%, window: 30d, indicator: {ratio: {bad: 'b{', total: t}}}", "is no PromQL"),
        ("{name: a1, target: 99%, window: 30d, indicator: {ratio: {bad: b, total: sum(t)}}}", "no selector of series"),
        (
            "{name: a1, target: 99%, window: 30d, indicator: {ratio: {bad: 'rate(b[5m])', total: t}}}",
            "no selector of series",
        ),
    ],
)
def test_an_objective_of_ours_that_cannot_be_judged_is_refused(
    slo: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, f"slos: [{slo}]")

    assert told in refused(capsys, "lint", path)
    assert told in refused(capsys, "rules", path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--extra-labels", "team"], "'team' has no `=`"),
        (["--extra-labels", "a-b=c"], "'a-b' is no name of a label"),
        (["--extra-labels", "__name__=c"], "'__name__' is no name of a label"),
        (["--extra-labels", "team="], "'team' has no value"),
        (["--default-slo-period", "28d"], "states its own window"),
        (["--slo-period-windows-path", "nowhere"], "cannot be read"),
        (["--disable-alerts", "--disable-recordings"], "no rule can be written"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, "rules", str(ROOT / "slos/ratelimiter.yaml"), *words)


SLOTH = """
version: prometheus/v1
service: shop
labels: {tier: 2, critical: true, share: 0.5}
slos:
  - name: reads
    objective: 99.9
    sli: {raw: {error_ratio_query: "a_ratio_over[{{.window}}]"}}
    alerting: {name: Reads}
"""


def test_our_own_tables_serve_other_forms_when_they_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, SLOTH.replace("a_ratio_over[{{.window}}]", "avg_over_time(a_ratio[{{.window}}])"))
    week = ["--format", "sloth", "--default-slo-period", "1w"]

    assert "a period of 7d has no table of alert windows; allowed: 28d, 30d" in refused(capsys, "rules", path, *week)

    rules = rules_of(typed(capsys, "rules", path, *week, "--slo-period-windows-path", str(ROOT / "slos/windows")))
    (page,) = (rule for rule in rules if rule["labels"].get("sloth_severity") == "page")
    assert "13.44" in page["expr"] and "3.5" in page["expr"]


def test_a_folder_of_tables_has_one_for_each_period_and_factors_to_alert_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, SLOTH.replace("a_ratio_over[{{.window}}]", "avg_over_time(a_ratio[{{.window}}])"))
    tables, folder = ROOT / "slos/windows", tmp_path / "windows"
    words = ["rules", path, "--format", "sloth", "--slo-period-windows-path", str(folder)]
    folder.mkdir()
    assert "holds no table of windows with shares of a budget" in refused(capsys, *words)

    (folder / "demo.yaml").write_text((tables / "demo.yaml").read_text())
    assert "holds no table of windows with shares of a budget" in refused(capsys, *words)

    for name in ("month.yaml", "other.yml"):
        (folder / name).write_text((tables / "30d.yaml").read_text())
    assert "other: is a second table of the same period" in refused(capsys, *words)


def test_values_of_labels_are_texts_however_they_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, SLOTH.replace("a_ratio_over[{{.window}}]", "avg_over_time(a_ratio[{{.window}}])"))

    (info,) = (each for each in rules_of(typed(capsys, "rules", path, "--format", "sloth"))
               if each.get("record") == "sloth_slo_info")  # fmt: skip

    assert {key: info["labels"][key] for key in ("tier", "critical", "share")} == {
        "tier": "2", "critical": "true", "share": "0.5",
    }  # fmt: skip


def test_a_word_that_the_tools_of_others_take_for_a_truth_is_one_there_and_a_text_in_quotes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given flags and labels in the words of YAML 1.1, with quotes and without
    query = SLOTH.replace("a_ratio_over[{{.window}}]", "avg_over_time(a_ratio[{{.window}}])")
    sloth = query.replace("{tier: 2,", '{a: Yes, b: "yes", c: off, d: n, e: nope,')
    path = one(tmp_path, sloth.replace("{name: Reads}", "{name: Reads, page_alert: {disable: on}}"))
    rolling = tmp_path / "openslo.yaml"
    rolling.write_text(OPENSLO_IMPORT.replace("isRolling: true", "isRolling: yes"))

    # when rules are made, then they are what those tools make of them
    rules = rules_of(typed(capsys, "rules", path, "--format", "sloth"))
    (info,) = (rule["labels"] for rule in rules if rule.get("record") == "sloth_slo_info")
    assert [info[key] for key in "abcde"] == ["true", "yes", "false", "false", "nope"]
    assert [rule["labels"]["sloth_severity"] for rule in rules if "alert" in rule] == ["ticket"]
    assert typed(capsys, "lint", str(rolling), "--format", "openslo").endswith(": fine\n")

    # but a flag in quotes is none, and in a file of our own such a word is a text
    quoted = one(tmp_path, sloth.replace("{name: Reads}", '{name: Reads, page_alert: {disable: "on"}}'))
    assert "page_alert.disable: input should be a valid boolean, not 'on'" in refused(
        capsys, "lint", quoted, "--format", "sloth"
    )
    ours = one(tmp_path, "slos: [{name: no, target: 99%, window: demo, burn_rate_alert: 2x, "
                         "indicator: {ratio: {bad: b_total, total: t_total}}}]")  # fmt: skip
    assert typed(capsys, "lint", ours).endswith(": fine\n")


def test_a_key_that_sloth_does_not_know_is_left_alone_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sloth = SLOTH.replace("a_ratio_over[{{.window}}]", "avg_over_time(a_ratio[{{.window}}])")
    path = one(tmp_path, sloth.replace("name: Reads}", "name: Reads, pageAlert: {disable: true}}"))

    COMMANDS(["slo", "lint", path, "--format", "sloth"], standalone_mode=False)

    told = capsys.readouterr().err
    assert told.startswith(f"{path}: slos[0].alerting.pageAlert: is not known and left alone")
    assert told.endswith("nearest: page_alert\n")


def test_rules_are_one_json_document_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "slos/ratelimiter.yaml")

    assert json.loads(typed(capsys, "rules", path, "--json")) == yaml.safe_load(typed(capsys, "rules", path))
    assert json.loads(typed(capsys, "lint", path, "--json")) == {"file": path, "ok": True}


def test_a_query_that_no_rule_can_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "lint", one(tmp_path, SLOTH), "--format", "sloth")

    assert "slos[0].sli.raw.error_ratio_query: gives a range or a text" in told


def test_every_fault_of_every_document_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "lint", one(tmp_path, SLOTH + "---" + SLOTH.replace("99.9", "0")), "--format", "sloth")

    assert [line.split(": ", 1)[1].rsplit(": ", 1)[0] for line in told.splitlines()] == [
        "documents[0]: slos[0].sli.raw.error_ratio_query",
        "documents[1]: slos[0].objective",
        "documents[1]: slos[0].sli.raw.error_ratio_query",
    ]


@pytest.mark.parametrize("form", ["native", "sloth", "openslo"])
@pytest.mark.parametrize(
    "text", ["", "a", "[]", "[1, a]", "{}", "1", "---\n---\n", "kind: [a]\napiVersion: openslo/v1", "a: {b: [", "\x00",
             "&a {b: *a}", "apiVersion: {}", "version: prometheus/v1\nslos: {a: b}",
             f"version: prometheus/v1\nservice: aa\nslos: [{{name: bb, objective: {'9' * 400}}}]"]
)  # fmt: skip
def test_what_is_no_document_is_refused_with_its_file(
    form: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, text)

    assert refused(capsys, "lint", path, "--format", form).startswith(f"{path}: ")
    assert refused(capsys, "rules", path, "--format", form).startswith(f"{path}: ")


def test_a_rule_file_is_one_document_whose_labels_no_reader_takes_for_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [word for pair in ("a=1e3", "b=yes", "c=12:30", "d=~", 'e=x "y": #z') for word in ("--extra-labels", pair)]
    text = typed(capsys, "rules", str(ROOT / "slos/ratelimiter.yaml"), *labels)

    (document,) = yaml.safe_load_all(text)
    written = document["groups"][0]["rules"][0]["labels"]
    assert [written[key] for key in "abcde"] == ["1e3", "yes", "12:30", "~", 'x "y": #z']


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ('sum(rate(x{a="b" or c="d"}[{{.window}}]))', "has `or` between its labels"),
        ("rate(x[{{.window}}]) + rate(x[1e30])", "has a length of '1e30'"),
        ("rate(x[{{.window}}:1e30])", "has a length of '1e30'"),
        ("rate(x[{{.window}}] offset 1e30)", "has a length of '1e30'"),
        ("rate(x[{{.window}}] offset 999y)", "has a length of '999y'"),
        ("(" * 30_000 + "rate(x[{{.window}}])" + ")" * 30_000, "characters; allowed are"),
        ("(" * 5_000 + "rate(x[{{.window}}])" + ")" * 5_000, "operators and parentheses; allowed are"),
        ("rate(x[{{.window}}])" + " + x" * 4_500, "operators and parentheses; allowed are"),
        ("rate(x[{{.window}}s])", "beside {{.window}}"),
        ("rate(x[1h{{.window}}])", "beside {{.window}}"),
        ("rate(x[{{.window}}]) + x offset 1{{.window}}", "beside {{.window}}"),
        ("rate(x[{{.window}}]) + x{{.window}}y{{.window}}", "beside {{.window}}"),
        ("mad_over_time(x[{{.window}}])", "calls `mad_over_time`, which is experimental"),
        ("limitk(2, rate(x[{{.window}}]))", "calls `limitk`, which is experimental"),
        ('sum(rate({"http.requests"}[{{.window}}]))', "has a name in quotes"),
        ('sum(rate(x{a="b", "http.status"="500"}[{{.window}}]))', "has a name in quotes"),
        ('sum by (a, "http.route") (rate(x[{{.window}}]))', "has a name in quotes"),
    ],
)
def test_a_query_that_the_parser_or_a_rule_would_not_survive_is_refused(
    query: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, SLOTH.replace('"a_ratio_over[{{.window}}]"', json.dumps(query)))

    assert told in refused(capsys, "lint", path, "--format", "sloth")


def test_a_text_that_looks_like_a_name_in_quotes_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = '{__name__="a.b", c="{\\"d\\"}"}'
    query = f'label_replace(sum(rate({texts}[{{{{.window}}}}])), "e", "$1", "f", "") + on (g) sum by (g) (h{{i="j"}})'
    path = one(tmp_path, SLOTH.replace('"a_ratio_over[{{.window}}]"', json.dumps(query)))

    assert typed(capsys, "lint", path, "--format", "sloth").endswith(": fine\n")


@pytest.mark.parametrize("period", ["inf", "nan", "1e30", "999y", "9" * 30, "0", "30", "2592000.5"])
def test_a_default_period_that_is_no_length_is_refused(
    period: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(tmp_path, SLOTH)

    told = refused(capsys, "rules", path, "--format", "sloth", "--default-slo-period", period)

    assert told.startswith("--default-slo-period: ")


def test_what_is_merged_into_a_mapping_is_read_and_yields_to_its_own_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(
        tmp_path,
        """
version: prometheus/v1
service: shop
slos:
  - &reads
    name: reads
    objective: 99.9
    sli: {raw: {error_ratio_query: "avg_over_time(a_ratio[{{.window}}])"}}
    alerting: {name: Reads}
  - {<<: *reads, name: writes, objective: 99.5}
""",
    )

    rules = rules_of(typed(capsys, "rules", path, "--format", "sloth"))

    infos = [rule["labels"] for rule in rules if rule.get("record") == "sloth_slo_info"]
    assert [(each["sloth_slo"], each["sloth_objective"]) for each in infos] == [("reads", "99.9"), ("writes", "99.5")]


def test_merges_that_grow_without_end_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["k0: &k0 {a: 1, b: 2}", *(f"k{n}: &k{n} {{<<: [*k{n - 1}, *k{n - 1}]}}" for n in range(1, 40))]

    assert "merges more than" in refused(capsys, "lint", one(tmp_path, "\n".join(lines)))


BAD, TOTAL = 'hits_total{code=~"5.."}', "hits_total"
SLOTH_IMPORT = f"""
version: prometheus/v1
service: ratelimiter
slos:
- name: pages
  objective: 99.9
  sli:
    events:
      error_query: 'sum(rate({BAD}[{{{{.window}}}}]))'
      total_query: 'sum(rate({TOTAL}[{{{{.window}}}}]))'
  alerting: {{name: PagesBurn}}
"""
OPENSLO_IMPORT = f"""
apiVersion: openslo/v1
kind: SLO
metadata: {{name: pages}}
spec:
  service: ratelimiter
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 4w, isRolling: true}}]
  objectives: [{{target: 0.999}}]
  indicator:
    metadata: {{name: answered}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{type: Prometheus, spec: {{query: '{BAD}'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: '{TOTAL}'}}}}}}
"""


@pytest.mark.parametrize(
    ("form", "text", "window"), [("sloth", SLOTH_IMPORT, "30d"), ("openslo", OPENSLO_IMPORT, "28d")]
)
def test_what_is_imported_is_fine_and_counts_what_it_counted(
    form: str, text: str, window: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given an objective in another's form, when it is imported, as YAML and as JSON
    theirs = one(tmp_path, text)
    written = typed(capsys, "import", theirs, "--format", form)
    document = json.loads(typed(capsys, "import", theirs, "--format", form, "--json"))

    # then both are one document of the same counters, and fine as a file of our own
    assert parse_yaml(written, "f") == document
    (slo,) = document["slos"]
    assert (slo["target"], slo["window"]) == ("99.9%", window)
    assert slo["indicator"] == {"ratio": {"bad": [BAD], "total": TOTAL}}
    ours = tmp_path / "ours.yaml"
    ours.write_text(written)
    assert typed(capsys, "lint", str(ours)) == f"{ours}: fine\n"


def test_what_cannot_be_counted_is_refused_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = one(tmp_path, SLOTH_IMPORT.replace("'sum(rate(hits_total[", "'max(rate(hits_total["))
    told = refused(capsys, "import", path, "--format", "sloth")
    assert f"{path}: ratelimiter-pages: has `max(rate(hits_total[" in told
