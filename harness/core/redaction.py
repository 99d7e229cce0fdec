"""Which texts are secret: values that are known by a name, and forms that keys have. Takes them out. Touches nothing.

What it finds and what it does not is told in ``docs/secrets.md``. Every pattern begins with a literal and runs in time
that grows with the text alone; git's hashes, UUIDs and digests are never touched.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, quote_plus

from harness.core.canonical import DEEPEST

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 6
"""A shorter value occurs by chance in any text; it is counted as not searched for."""
_NAMES = re.compile(r".*_(API_KEY|TOKEN|SECRET|PASSWORD|WEBHOOK_URL)")
_COMMON = re.compile(r"[a-z]{1,8}|[A-Z]{1,8}|[0-9]{1,8}")
"""A plain word or number, as `harness`: taking it out wherever it stands would take out what the record is made of."""
_SHORT_HEX = re.compile(r"[0-9a-f-]{1,15}")
"""So short that it may stand within a hash by chance."""

Found = Counter[str]
"""Name of a variable, or of a pattern → how often it was taken out."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets that are known by name (variable → value), and the patterns."""

    values: Mapping[str, str]
    not_searched: tuple[str, ...] = ()
    """Variables whose value is so short or so common that it stands in any text by chance."""
    _forms: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        forms = {form: name for name, value in self.values.items() for form in _forms(value)}
        longest_first = sorted(forms.items(), key=lambda item: (-len(item[0]), item))
        object.__setattr__(self, "_forms", tuple(longest_first))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Secrets:
        """Those of the variables whose names say so."""
        named = {name: value for name, value in environment.items() if _NAMES.fullmatch(name) and value}
        values = {name: value for name, value in named.items() if _searchable(value)}
        return cls(values, tuple(sorted(named.keys() - values.keys())))

    def taken_from(self, value: Any) -> tuple[Any, Found]:
        """The same JSON value without a secret in any text of it, names of fields included; and what was taken out."""
        found: Found = Counter()
        texts = _texts(value)
        if not self._may_be_in("\n".join(texts)):
            return value, found
        changed = {text: (clean, count) for text in texts for clean, count in [self.taken_from_text(text)] if count}
        return _cleaned(value, changed, found), found

    def taken_from_text(self, text: str) -> tuple[str, Found]:
        """The text without a secret, and what was taken out: known values first, then patterns."""
        found: Found = Counter()
        for form, name in self._forms:
            if form in text:
                text, count = _without(form, text)
                if count:
                    found[name] += count
        lowered = _lowered(text)
        for pattern in PATTERNS:
            if pattern.anchor in (given := lowered if pattern.any_case else text):
                clean = pattern.without(text, given, found)
                text, lowered = (text, lowered) if clean is text else (clean, _lowered(clean))
        return text, found

    def found_in(self, written: bytes) -> str | None:
        """The variable whose value is in these bytes, plainly or encoded; None when there is none."""
        for form, name in self._forms:
            if form.encode(errors="surrogateescape") in written:
                return name
        return None

    def _may_be_in(self, texts: str) -> bool:
        """Whether one of these, a line or some each, is worth a closer look: false for nearly all that is ever written.

        No form of a secret that stands in a text is hidden by what stands before or behind it.
        """
        if any(form in texts for form, _ in self._forms):
            return True
        lowered = _lowered(texts)
        return any(pattern.may_be_in(lowered if pattern.any_case else texts) for pattern in PATTERNS)


def _cleaned(value: Any, changed: Mapping[str, tuple[str, Found]], found: Found, depth: int = 0) -> Any:
    """The value with the texts that ``changed`` names as they are without their secrets, counted in ``found``."""
    if depth > DEEPEST:  # no JSON that can be written is so deep
        return value
    match value:
        case str():
            if value not in changed:
                return value
            clean, count = changed[value]
            found.update(count)
            return clean
        case dict():
            return {
                _cleaned(key, changed, found): _entry(key, _cleaned(inner, changed, found, depth + 1), found)
                for key, inner in value.items()
            }
        case list():
            return [_cleaned(inner, changed, found, depth + 1) for inner in value]
    return value


def _entry(key: Any, value: Any, found: Found) -> Any:
    """A field's value: where its name says that it is secret, there is no assignment in its text."""
    if not isinstance(key, str) or not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        return value
    named = _SECRET_FIELD.fullmatch(key.lower())
    if named is None or re.search(r"\s", value) or not _looks_secret(value, named[1]):
        return value
    found[ASSIGNMENT] += 1
    return REDACTED


def _searchable(value: str) -> bool:
    return len(value) >= SHORTEST_SECRET and not _COMMON.fullmatch(value) and value not in REDACTED


def _forms(value: str) -> Iterator[str]:
    """How a value may stand in a text: plainly, and as JSON, Python, a URL or base64 write the whole of it."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    whole = value.encode(errors="surrogateescape")
    for quoted in (quote(whole), quote(whole, safe=""), quote_plus(whole)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), quoted)
    for body in (whole, whole + b"\n"):  # the second is what `echo … | base64` gives
        yield b64encode(body).decode().rstrip("=")
        yield urlsafe_b64encode(body).decode().rstrip("=")


def _without(form: str, text: str) -> tuple[str, int]:
    if _SHORT_HEX.fullmatch(form):
        return re.subn(rf"(?<![0-9a-f]){re.escape(form)}(?![0-9a-f])", REDACTED, text)
    return text.replace(form, REDACTED), text.count(form)


def _texts(value: Any) -> set[str]:
    """Every text of a JSON value, names of fields included, once."""
    found: set[str] = set()
    ahead = [value]
    while ahead:
        value = ahead.pop()
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, dict):
            found.update(key for key in value if isinstance(key, str))
            ahead += value.values()
        elif isinstance(value, list):
            ahead += value
    return found


# --- patterns --------------------------------------------------------------------------------------------------------

ASSIGNMENT: Final = "assignment"
_WORD = r"[0-9A-Za-z_-]"
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_A_NAME = re.compile(r"[A-Za-z]+([_.][A-Za-z]+)*_?[0-9]{0,2}")
"""As code names things, `next_token2`; no key that a program made looks so."""
_PLACEHOLDER = re.compile(r"\$|.*(\$\{|\{\{|%\(|<|\.\.\.|…)|[*xX.]+$")
_LONGEST_READ: Final = 400
"""So much of a value is read before it is decided whether it is one; the rest of its run goes with it."""
_REST = re.compile(r"[^\s\"'\\]*+")
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/]{24}")


def _always(value: str, whole: str) -> bool:
    return True


def _has_digit(value: str, whole: str) -> bool:
    return bool(re.search("[0-9]", value)) and not _DIGEST.fullmatch(value)


def _holds_a_key(value: str, whole: str) -> bool:
    return bool(_BASE64_RUN.search(value))


def _not_taken_out(value: str, whole: str) -> bool:
    return REDACTED not in value and not _PLACEHOLDER.match(value)


def _looks_secret(value: str, whole: str) -> bool:
    """Whether a value that is assigned to a secret's name is one, and no type, variable, number or reference."""
    if REDACTED in value or _PLACEHOLDER.match(value) or _DIGEST.fullmatch(value) or not re.search("[0-9]", value):
        return False
    if whole.startswith("pass"):
        return True
    return bool(re.search("[A-Za-z]", value)) and not _A_NAME.fullmatch(value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A form of secret: begins with the literal ``anchor``; of its match, a group is the secret where there is one."""

    name: str
    anchor: str
    regex: re.Pattern[str]
    is_one: Callable[[str, str], bool] = _always
    any_case: bool = False
    """Whether the anchor is looked for in the text as lower case."""
    field: re.Pattern[str] | None = None
    """How the name of a field ends whose value is one."""

    def may_be_in(self, given: str) -> bool:
        """Whether anything in ``given``, lines of texts, has this form."""
        if self.anchor not in given:
            return False
        return bool(self.regex.search(given) or (self.field and self.field.search(given)))

    def without(self, text: str, given: str, found: Found) -> str:
        """The text without it, counted in ``found``; ``given`` is what is searched: the text, or it in lower case."""
        parts: list[str] = []
        end = 0
        for match in self.regex.finditer(given):
            begins, ends = match.span(match.lastindex or 0)
            if begins >= end and self.is_one(text[begins:ends], match[0]):
                parts += [text[end:begins], REDACTED]
                end = ends if ends - begins < _LONGEST_READ else _REST.match(text, ends).end()  # type: ignore[union-attr]
        if not parts:
            return text
        found[self.name] += len(parts) // 2
        return "".join([*parts, text[end:]])


def _lowered(text: str) -> str:
    """In lower case, every letter where it was: of all letters, one has two in lower case."""
    return text.replace("\u0130", "i").lower()


def _key(name: str, anchor: str, rest: str, is_one: Callable[[str, str], bool] = _always) -> Pattern:
    """A key that begins so. Not within a longer word: so each run of letters is walked once, from its beginning.

    What is no part of the word, though it looks so: an escaped line break or tab, a terminal's colour, a character as a
    URL writes it, and the sign of a line that a diff takes out.
    """
    begins = re.escape(anchor)
    before = (rf"\\[nrt]{begins}", rf"[0-9;]m{begins}", rf"%[0-9A-Fa-f]{{2}}{begins}", rf"^-{begins}")
    follows = "|".join([rf"(?<!{_WORD}{begins})", *(rf"(?<={one})" for one in before)])
    return Pattern(name, anchor, re.compile(rf"{begins}(?:{follows}){rest}", re.MULTILINE), is_one)


def _assigned(anchor: str, rest: str) -> Pattern:
    """`password=…`, `"token": "…"`, `X-Api-Key: …`; the value ends where it would in code, JSON, a URL or a shell."""
    return Pattern(
        ASSIGNMENT, anchor,
        re.compile(
            rf"{anchor}{rest}[\"'\\\]]{{0,3}}[ \t]{{0,3}}(?::=|=>|[:=])[ \t]{{0,3}}"
            r"(?:\\{0,3}[\"']([^\"'\\\s]{6,400}+)|([^\s\"'\\,;&(){}\[\]<>|`]{6,400}+)(?![(\[]))"
        ),
        _looks_secret, any_case=True, field=re.compile(rf"{anchor}{rest}$", re.MULTILINE),
    )  # fmt: skip


_SECRET_FIELD = re.compile(r".*(pass(word|wd|phrase)|secret([_-]?key)?|token|(api|access)[_-]?key)")

PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(
        "private-key", "-----BEGIN ",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[^-]|-(?!----))*+-?-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
            r"|(?:(?:\\+[nr]|[\s\"'+,>|#-]){0,12}+[A-Za-z0-9+/]{16,}+={0,2}+)+)"
        ),
        _holds_a_key,
    ),
    Pattern(
        "url-password", "://",
        re.compile(r"://[^\s/@:?#\"'<>\\]{0,64}:([^\s/@\"'<>\\]{1,256})@"), _not_taken_out,
    ),
    _key("aws-access-key", "AKIA", r"[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _key("aws-access-key", "ASIA", r"[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _key("google-api-key", "AIza", rf"{_WORD}{{35}}(?!{_WORD})"),
    _key("github-token", "gh", r"[opsru]_[0-9A-Za-z]{36,}"),
    _key("github-token", "github_pat_", r"[0-9A-Za-z_]{22,}"),
    _key("gitlab-token", "glpat-", rf"{_WORD}{{20,}}"),
    _key("slack-token", "xox", r"[abeprs]-[0-9A-Za-z-]{10,}", _has_digit),
    _key("api-key", "sk-", rf"{_WORD}{{20,}}", _has_digit),
    _key("api-key", "sk_live_", r"[0-9A-Za-z]{16,}"),
    _key("jwt", "eyJ", rf"{_WORD}{{8,}}\.eyJ{_WORD}{{8,}}\.{_WORD}*"),
    Pattern(
        "authorization", "authorization",
        re.compile(
            r"authorization[\"'\\\]]{0,3}[ \t]{0,3}[:=][ \t]{0,3}\\{0,3}[\"']?(?:basic|bearer|token)[ \t]{1,4}"
            r"([0-9a-z._~+/=-]{8,})"
        ),
        _not_taken_out, any_case=True,
    ),
    Pattern(
        "bearer-token", "bearer", re.compile(r"bearer[ \t]{1,4}([0-9a-z._~+/=-]{16,})"), _has_digit, any_case=True
    ),
    _assigned("pass", r"(?:word|wd|phrase)"),
    _assigned("secret", r"(?:[_-]?key)?"),
    _assigned("token", ""),
    _assigned("key", r"(?:(?<=api[_-]key)|(?<=apikey)|(?<=access[_-]key)|(?<=accesskey))"),
)  # fmt: skip
"""Looked for in this order. Where several would take the same, the first does, and its name is what is counted."""
