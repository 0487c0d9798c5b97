"""What is reported of results that another program wrote: which clips they lack, have twice, or name in vain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset.making.text import count_text

FORM = "docs/other_nets.md describes the form"  # ends the sentence on a wrong one


@dataclass(frozen=True)
class Account:
    """How the results of another program fit the clips of a split.

    Attributes:
        kind: what they are: "embeddings", "maps" or "separated".
        path: their file or folder.
        what: what one of them belongs to, in the singular: "clip" or "mixture".
        missing: clips (or mixtures) of the split without a result: they are not measured.
        doubled: those with several results, of which the first is measured.
        unknown: those that the split doesn't have.
        remarks: further sentences.
    """

    kind: str
    path: Path
    what: str = "clip"
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """List what metrics.json says of them: its part "given"."""
        names = {"missing": self.missing, "doubled": self.doubled, "unknown": self.unknown}
        counts: dict[str, Any] = {name: len(clips) for name, clips in names.items()}
        lists = {f"{name}_{self.what}s": clips for name, clips in names.items() if clips}
        return {"kind": self.kind, "file": str(self.path)} | counts | lists

    def notes(self) -> list[str]:
        """Say in sentences what was left out."""
        return [
            f"the results were read from {self.path}, no net was run",
            *self._note(self.missing, "of the split {have} no result in it and {are} not measured"),
            *self._note(self.doubled, "{have} several results in it, of which the first is measured"),
            *self._note(self.unknown, "in it {are} not in the split"),
            *self.remarks,
        ]

    def _note(self, names: Sequence[str], text: str) -> list[str]:
        if not names:
            return []
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        verbs = {"have": "has", "are": "is"} if len(names) == 1 else {"have": "have", "are": "are"}
        return [f"{count_text(len(names), self.what)} ({shown}) {text.format(**verbs)}"]
