"""Declarations on disk (service.yaml, slos/, invariants/) into the models of core. Reads files, changes none.

YAML is read by the core schema of version 1.2: ``no``, ``12:30`` and dates stay the text they are, keys come once. In
documents of Sloth and OpenSLO, ``no`` and its kin are truths: their tools read them so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness.core.declaration import Declaration
from harness.core.errors import Invalid
from harness.core.invariant import Invariant, InvariantFile, parse_invariants
from harness.core.manifest import Manifest
from harness.core.operation import Catalog
from harness.core.slo import Slo, SloFile, Windows, parse_slos
from harness.core.slo_documents.sloth import read_windows
from harness.core.structure import Structural, StructuralFile, parse_structural

T = TypeVar("T")
D = TypeVar("D", bound=Declaration)

OWN = "harness.yaml"
"""The file of ``invariants/`` that is about the harness."""
LARGEST_FILE_BYTES = 1024 * 1024
_MERGE = "tag:yaml.org,2002:merge"
_MOST_KEYS = 10_000  # merges of merges double what they hold
_DEEPEST = 100  # libyaml's composer recurses in C, and a million brackets would end the process


class _Loader(yaml.CSafeLoader):
    """YAML 1.2 core schema with merge keys (``<<``); a key that comes twice is refused, what is merged yields to it.

    Over libyaml, which PyYAML's wheels bring: its parser in Python takes seven times as long.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the way in which PyYAML takes its table

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged: dict[int, yaml.MappingNode] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Runs once for a mapping, for afterwards what was merged stands beside its own keys."""
        if id(node) in self._merged:
            return
        self._merged[id(node)] = node
        own = [key for key, _ in node.value if key.tag != _MERGE]
        keys = [self.construct_object(key, deep=True) for key in own]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                line = own[number].start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"line {line}: key {key!r} comes twice")
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"merges more than {_MOST_KEYS} keys into one mapping")


for _tag, _pattern, _first in (
    ("merge", "<<", ["<"]),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", "[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


class _TruthsOfOld(_Loader):
    """The same, but that the words of YAML 1.1 are truths: what reads documents of other tools there has them so."""


_TRUE, _FALSE = ("y", "yes", "on", "true"), ("n", "no", "off", "false")
_TruthsOfOld.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(f"^(?:{'|'.join(form for word in _TRUE + _FALSE for form in (word, word.title(), word.upper()))})$"),
    list("yYnNtTfFoO"),
)
_TruthsOfOld.add_constructor("tag:yaml.org,2002:bool", lambda _, node: _truth(str(node.value)))


def _truth(word: str) -> bool:
    if word.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{word!r} is no truth")
    return word.lower() in _TRUE


def load(form: type[D], path: Path) -> D:
    """The declaration in ``path``. All of these raise Invalid with ``file: path: reason``, a line a fault."""
    return form.parse(read_yaml(path), str(path))


def load_manifest(path: Path) -> Manifest:
    """The manifest in ``path``."""
    return parse_manifest(_text(path), str(path))


@lru_cache(maxsize=8)
def parse_manifest(text: str, where: str) -> Manifest:
    """The manifest in ``text``, such as that of a commit. Remembered by the text itself: to parse one takes 15 ms, and
    every ticket that is filed asks for it."""
    return Manifest.parse(parse_yaml(text, where), where)


def load_windows(folder: Path) -> dict[str, Windows]:
    """The tables of windows in ``folder``, in this project's form or in Sloth's, by file name without its ending."""
    return {path.stem: _windows(read_yaml(path), str(path)) for path in _yaml_files(folder)}


def _windows(document: Any, where: str) -> Windows:
    sloths = isinstance(document, dict) and "apiVersion" in document
    return read_windows(document, where) if sloths else Windows.parse(document, where)


def load_slos(path: Path, windows: Mapping[str, Windows]) -> tuple[Slo, ...]:
    """The objectives in a file, or in all files of a folder (not of its subfolders)."""
    return tuple(slo for file in _yaml_files(path) for slo in parse_slos(read_yaml(file), str(file), windows))


def load_invariants(path: Path) -> tuple[Invariant, ...]:
    """The invariants in a file, or in all files of a folder but that of the harness itself."""
    files = [file for file in _yaml_files(path) if file.name != OWN]
    return tuple(each for file in files for each in parse_invariants(read_yaml(file), str(file)))


def load_structural(folder: Path, taken: Collection[str]) -> tuple[Structural, ...]:
    """The harness's own invariants in a folder; ``taken``: names of others."""
    return parse_structural(read_yaml(folder / OWN), str(folder / OWN), taken)


def read_yaml(path: Path) -> Any:
    """The document in a file, as plain values. Raises Invalid when it is not there or is no YAML."""
    return parse_yaml(_text(path), str(path))


def read_documents(path: Path) -> list[tuple[str, Any]]:
    """All documents of a file in the form of another tool that are not empty, each with its place.

    Raises as ``read_yaml``, or if there is none.
    """
    found = _parsed(_text(path), str(path), lambda text: list(yaml.load_all(text, _TruthsOfOld)))
    documents = [
        (f"{path}: documents[{number}]" if len(found) > 1 else str(path), document)
        for number, document in enumerate(found)
        if document is not None
    ]
    if not documents:
        raise Invalid(f"{path}: document: is missing; the file is empty")
    return documents


def parse_yaml(text: str, where: str) -> Any:
    """The one document in ``text``, as plain values. Raises Invalid with the line where it breaks."""
    return _parsed(text, where, lambda text: yaml.load(text, _Loader))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST_FILE_BYTES + 1)
        if len(body) > LARGEST_FILE_BYTES:
            raise Invalid(f"{path}: is larger than {LARGEST_FILE_BYTES} bytes, as much as a declaration may have")
        return body.decode()
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _parsed(text: str, where: str, load: Callable[[str], T]) -> T:
    try:
        if _depth(text) > _DEEPEST:
            raise Invalid(f"{where}: is no YAML: it is nested too deeply; at most {_DEEPEST} levels are read")
        return load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        told = ", ".join(part for part in (error.context, error.problem) if part)
        raise Invalid(f"{where}: is no YAML: {place}{told}") from None
    except yaml.YAMLError as error:
        raise Invalid(f"{where}: is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:  # keys that hold keys, which PyYAML constructs within each other
        raise Invalid(f"{where}: is no YAML: it is nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # PyYAML's own, for a tag that does not fit
        raise Invalid(f"{where}: is no YAML: a value is not what its tag says, or too long ({error})") from None


def _depth(text: str) -> int:
    """How deep the text is nested; where that is more than is read, it is not looked further. Recurses nowhere."""
    depth = deepest = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        deepest = max(deepest, depth)
        if deepest > _DEEPEST:
            break
    return deepest


def _yaml_files(path: Path) -> list[Path]:
    return sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]


def schemas() -> dict[str, str]:
    """File name in ``docs/schemas`` → the whole text of a declaration's JSON Schema, so that editors know it."""
    models: dict[str, type[Declaration]] = {
        "slo": SloFile,
        "invariant": InvariantFile,
        "structural": StructuralFile,
        "actions": Catalog,
        "service": Manifest,
    }
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        f"{name}.schema.json": json.dumps({**dialect, **model.model_json_schema(by_alias=True)}, indent=2) + "\n"
        for name, model in models.items()
    }
