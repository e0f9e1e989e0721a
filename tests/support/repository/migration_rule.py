"""The rule of docs/migrations.md for a migration's text: what the release before would not survive, or wait for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import sqlparse

BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
"""A function's text: it runs for whoever calls the function, and nobody did before."""
NAME = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?([\w.\"]+)"


class Rule(NamedTuple):
    name: str
    pattern: re.Pattern[str]
    reason: str


def _rule(name: str, pattern: str, reason: str) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), reason)


EVERYWHERE = [
    _rule("drop", r"^(?!DROP INDEX CONCURRENTLY).*\bDROP\b", "the release before may use it"),
    _rule("rename", r"\bRENAME\b", "the release before knows it by its old name"),
    _rule(
        "type",
        r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b",
        "rewrites the table, and plans that are kept fail",
    ),
    _rule(
        "not null",
        r"\bSET NOT NULL\b",
        "reads the whole table while nobody else can, and may refuse old writers",
    ),
    _rule(
        "not null",
        r"\bADD (COLUMN )?(?!CONSTRAINT\b)(?=.*\bNOT NULL\b)(?!.*\bDEFAULT\b)",
        "the release before says nothing of the column",
    ),
    _rule(
        "scan",
        r"\bADD (COLUMN )?(?!CONSTRAINT\b).*\b(CHECK|REFERENCES|UNIQUE|PRIMARY KEY|GENERATED)\b",
        "reads the whole table while nobody else can: a constraint of its own, NOT VALID, then VALIDATE",
    ),
    _rule(
        "rewrite",
        r"\bADD (COLUMN )?.*\bDEFAULT (?!now\()\w+\(",
        "a default that is no constant rewrites the table",
    ),
    _rule(
        "scan",
        r"\bADD CONSTRAINT\b(?!.*\bNOT VALID\b)",
        "reads the whole table while nobody else can: NOT VALID, then VALIDATE",
    ),
    _rule("replace", r"^CREATE OR REPLACE\b", "the release before calls what was there: a new name"),
    _rule(
        "rows",
        r"^(UPDATE|DELETE|TRUNCATE|MERGE|LOCK|CLUSTER|VACUUM|REINDEX (?!.*CONCURRENTLY))\b",
        "keeps others from rows for as long as it takes: the code moves data, a little at a time",
    ),
]

ON_TABLES_THAT_ARE_THERE = [
    _rule("unique", r"^CREATE UNIQUE INDEX\b", "may refuse what the release before writes"),
    _rule("trigger", r"^CREATE .*TRIGGER\b", "changes what the release before does"),
    _rule("index", r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)", "nobody can write meanwhile: CONCURRENTLY"),
]

OUTSIDE_A_TRANSACTION = re.compile(
    r"\bCONCURRENTLY\b|^ALTER TABLE \S+ VALIDATE CONSTRAINT \S+$", re.IGNORECASE
)


@dataclass(frozen=True)
class Offence:
    rule: str
    statement: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.statement}: {self.reason}"


def statements(text: str) -> list[str]:
    """Each on one line, without comments and without the bodies of functions."""
    plain = sqlparse.format(BODY.sub("''", text), strip_comments=True)
    return [" ".join(part.split()).rstrip("; ") for part in sqlparse.split(plain) if part.strip("; \n")]


def offences(text: str) -> list[Offence]:
    """What of the migration breaks the rule, each with its reason."""
    found = statements(text)
    created = set(_names(found, rf"^CREATE TABLE {NAME}"))
    result = []
    for statement in found:
        table = next(_names([statement], rf"\bON {NAME}"), "")
        rules = EVERYWHERE + ([] if table in created else ON_TABLES_THAT_ARE_THERE)
        result += [Offence(name, statement, why) for name, rule, why in rules if rule.search(statement)]
    in_transaction = not re.search(r"^\s*--\s*transactional\s*:\s*false", text, re.MULTILINE)
    result += _as_a_whole(found, created) if in_transaction else _repeated(found)
    return result


def _names(found: list[str], pattern: str) -> Iterator[str]:
    for statement in found:
        for match in re.finditer(pattern, statement, re.IGNORECASE):
            yield match[1]


def _as_a_whole(found: list[str], created: set[str]) -> Iterator[Offence]:
    altered = set(_names(found, rf"^ALTER TABLE {NAME}")) - created
    if len(altered) > 1:
        yield Offence(
            "tables", ", ".join(sorted(altered)), "keeps the one locked while it waits for the other"
        )


def _repeated(found: list[str]) -> Iterator[Offence]:
    """Of a file outside a transaction, which is run again from its beginning after a failure."""
    dropped: set[str] = set()
    for statement in found:
        if not OUTSIDE_A_TRANSACTION.search(statement):
            yield Offence("alone", statement, "waits for its lock in everybody's way: a file of its own")
        dropped |= set(_names([statement], r"^DROP INDEX CONCURRENTLY IF EXISTS (\S+)$"))
        for index in _names([statement], r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\S+) ON"):
            if index not in dropped:
                yield Offence(
                    "repeat",
                    statement,
                    "a failure leaves it invalid: DROP INDEX CONCURRENTLY IF EXISTS first",
                )
    for index in dropped - set(_names(found, r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\S+) ON")):
        yield Offence("drop", index, "the release before may need it")
