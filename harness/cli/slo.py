"""`harness slo …`: objectives in this project's form, Sloth's or OpenSLO's: checked, or written as Prometheus rules.

Reads declarations and needs nothing that runs. Rules of a whole file are printed, or none.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

from harness.adapters.declarations import load_manifest, load_slos, load_windows, read_documents
from harness.bootstrap import CHECKOUT, read_registered
from harness.cli.render import AsJson, print_json, safe
from harness.core.errors import Invalid
from harness.core.slo import Slo, Windows
from harness.core.slo_documents import importing, native, openslo_rules, sloth
from harness.core.slo_documents.promql import duration_s
from harness.core.slo_documents.reading import Reading
from harness.core.slo_documents.rules import Objective, label_faults, require_distinct, rule_groups
from harness.core.units import choices
from harness.measure import EVERY_ARM

app = typer.Typer(no_args_is_help=True, help="Objectives: checked, written as rules of Prometheus, and how they stand.")

Form = Literal["native", "sloth", "openslo"]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of objectives, YAML or JSON.")]
InForm = Annotated[Form, typer.Option("--format", help="The form that the file is in.")]
PERIOD = "30d"
"""Of a document in a form that may leave it open."""


@app.command()
def lint(path: File, form: InForm = "native", as_json: AsJson = False) -> None:
    """Check a file of objectives. Exit 2 with every `path: reason`."""
    if form == "openslo":
        openslo_rules.check(read_documents(path), _reading(None, None, {}, alerts=False), str(path))
    elif not _objectives(path, form, _reading(None, None, {}, alerts=True), None):
        raise Invalid(f"{path}: holds no objective; name a file, or a folder of YAML files, that does")
    if as_json:
        print_json({"file": str(path), "ok": True})
    else:
        print(f"{path}: fine")


@app.command()
def rules(
    path: File,
    form: InForm = "native",
    disable_alerts: Annotated[bool, typer.Option("--disable-alerts", help="Write no alerts.")] = False,
    disable_recordings: Annotated[bool, typer.Option("--disable-recordings", help="Write no records.")] = False,
    extra_labels: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="A label for every record; may be given often.")
    ] = None,
    default_slo_period: Annotated[
        str | None, typer.Option(help="The period of documents that state none; 30d when not given.")
    ] = None,
    slo_period_windows_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Tables of windows, in this project's form or Sloth's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print one YAML document of Prometheus rules: records, metadata and alerts with Sloth's names and labels.

    Documents of Sloth and OpenSLO find their alert windows in the tables of 28d and 30d, or in those of DIR.
    """
    if form == "native" and default_slo_period is not None:
        raise Invalid("--default-slo-period: an objective in the native form states its own window; leave it out")
    labels = _labels(extra_labels or [])
    reading = _reading(slo_period_windows_path, default_slo_period, labels, alerts=not disable_alerts)
    objectives = _objectives(path, form, reading, slo_period_windows_path)
    groups = rule_groups(
        objectives, version=version("harness"), recordings=not disable_recordings, alerts=not disable_alerts
    )
    if not groups:
        left = "nothing is left of its objectives" if objectives else "it holds no objective"
        raise Invalid(f"{path}: no rule can be written: {left}")
    if as_json:
        print_json({"groups": groups})
        return
    yaml.dump({"groups": groups}, sys.stdout, _Dumper, sort_keys=False, allow_unicode=True, width=2**20)


@app.command("import")
def import_(
    path: File,
    form: Annotated[
        Literal["sloth", "openslo"], typer.Option("--format", help="The form that the file is in.")
    ] = "sloth",
    default_slo_period: Annotated[
        str | None, typer.Option(metavar="28d", help=f"The period of a document that states none; else {PERIOD}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write another form's objectives as a file for `slos/`. What an entry has no place for is told on stderr."""
    objectives = _objectives(path, form, _reading(None, default_slo_period, {}, alerts=False), None)
    document = importing.entries(objectives, str(path), load_windows(CHECKOUT / "slos" / "windows"))
    for line in importing.left_out(objectives, str(path)):
        print(safe(line), file=sys.stderr)
    if as_json:
        print_json(document)
    else:
        yaml.dump(document, sys.stdout, _Dumper, sort_keys=False, allow_unicode=True, width=2**20)


def _objectives(path: Path, form: Form, reading: Reading, windows_path: Path | None) -> tuple[Objective, ...]:
    if form == "native":
        _refuse_other_form(path)
        slos = load_slos(path, load_windows(windows_path or CHECKOUT / "slos" / "windows"))
        objectives = tuple(_native(slo, path, reading.extra_labels) for slo in slos)
        require_distinct(objectives, str(path))
        return objectives
    if form == "openslo":
        return openslo_rules.read(read_documents(path), reading, str(path))
    documents = read_documents(path)
    objectives = sloth.read_all(documents, reading, str(path))
    for line in sloth.left_alone(documents):
        print(safe(line), file=sys.stderr)
    return objectives


def _refuse_other_form(path: Path) -> None:
    """A document that says of itself whose it is: better told so than with every key that is not ours."""
    for where, document in read_documents(path) if path.is_file() else ():
        for key, starts, other in (("version", "prometheus/", "sloth"), ("apiVersion", "openslo/", "openslo")):
            if isinstance(document, dict) and str(document.get(key)).startswith(starts):
                raise Invalid(f"{where}: {key}: {document[key]} is not our form; say --format {other}")


def _native(slo: Slo, path: Path, extra_labels: Mapping[str, str]) -> Objective:
    service = slo.service or read_registered().service
    folders = {folder.parent.name: folder for folder in sorted((CHECKOUT / "services").glob("*/service.yaml"))}
    if service not in folders:
        raise Invalid(f"{path}: slo {slo.name}: service {service!r} has no service.yaml; {choices(service, folders)}")
    try:
        return native.read(slo, service, slo.selectors(load_manifest(folders[service]), EVERY_ARM), extra_labels)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None


def _reading(windows_path: Path | None, period: str | None, labels: Mapping[str, str], *, alerts: bool) -> Reading:
    try:
        period_s = duration_s(period or PERIOD)
    except Invalid as error:
        raise Invalid(f"--default-slo-period: {error}") from None
    tables = load_windows(windows_path or CHECKOUT / "slos" / "windows")
    if windows_path is None:
        tables = {name: tables[name] for name in sloth.TABLES}
    return Reading(_by_period(tables, windows_path), period_s, labels, alerts)


def _by_period(tables: Mapping[str, Windows], path: Path | None) -> dict[float, Windows]:
    """Those that state shares of a budget: without them there is no factor to alert by."""
    found: dict[float, Windows] = {}
    for name, table in tables.items():
        if len(table.over(table.period_s)) < len(table.tiers):
            continue
        if table.period_s in found:
            raise Invalid(f"{path}: {name}: is a second table of the same period; leave one of them")
        found[table.period_s] = table
    if not found:
        raise Invalid(f"{path}: holds no table of windows with shares of a budget; name a folder of such YAML files")
    return found


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"--extra-labels: {text!r} has no `=`; write it like `team=edge`")
        labels[key] = value
    if faults := [f"--extra-labels: {key!r} {reason}" for key, reason in label_faults(labels)]:
        raise Invalid("\n".join(faults))
    return labels


class _Dumper(yaml.SafeDumper):
    """Values are quoted, so that no reader takes a label for a number; what has several lines keeps them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else '"')


def _mapping(dumper: yaml.SafeDumper, mapping: dict[str, Any]) -> yaml.MappingNode:
    """Keys stay plain."""
    node = dumper.represent_mapping("tag:yaml.org,2002:map", mapping)
    for key, _ in node.value:
        key.style = None
    return node


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)
