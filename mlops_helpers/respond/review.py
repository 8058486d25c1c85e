"""What a reviewer finds in a text about an incident: what is missing, and words that blame somebody.

Blame is found by words, so that a text without a finding may still blame, and people have the last say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Finding", "wording"]

_INSTEAD = {
    r"\b(?:careless|negligen|incompeten|stupid|laz[yi]|sloppy)\w*": "what made it easy to happen",
    r"\bhuman errors?\b": "what the system let happen, and what would have stopped it",
    r"\b(?:should|could|ought to) have (?:known|noticed|checked|seen|tested|been)\b": "what was known at that time",
    r"\b(?:forgot|neglected|failed) to\b": "what did not happen, and what could remind or do it",
    r"\b(?:to|is|are|were|was) blame\b|\bblamed?\b": "which conditions met",
    r"\b(?:his|her|their|whose|your|my|our) (?:fault|mistake|error)\b|\bat fault\b": "which conditions met",
    r"\b(?:be|being|was not|were not) (?:more )?careful\b": "a check, a limit or a default that needs no care",
    r"\b(?:obviously|clearly|simply|of course)\b": "nothing: it was not, at that time",
    r"\bnever again\b": "what is less likely now, and how that was tested",
}
_PATTERNS = {re.compile(pattern, re.IGNORECASE): instead for pattern, instead in _INSTEAD.items()}


@dataclass(frozen=True)
class Finding:
    """Something to mend: in which ``section``, what was found, and what to do."""

    section: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.section}: {self.found}. Next: {self.remedy}"


def wording(section: str, text: str) -> Iterator[Finding]:
    """Yield each wording that blames, with what to write instead."""
    for pattern, instead in _PATTERNS.items():
        for match in pattern.finditer(text):
            yield Finding(section, f'"{match[0]}" blames', f"say {instead}")
