"""All checks, and whether training can start."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hourglass.doctor import joint_checks, picture_checks, set_checks
from hourglass.doctor.people import DataSet, Finding, gather, measure
from hourglass.doctor.sources import FoundData

Stages = Callable[[str, int, int], None]
"""What is being done, how much of it is, of how much."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A data set and what was found in it.

    Args:
        people: everybody; None when the reader refused the file.
        counts: how much there is, as `set_checks.counts`.
        findings: one for each check, in a fixed order.
    """

    people: DataSet | None
    counts: dict[str, Any]
    findings: tuple[Finding, ...]

    def of(self, level: str) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def can_start(self) -> bool:
        """Whether there is no error."""
        return not self.of("error")

    @property
    def sentence(self) -> str:
        """The last word."""
        errors, warnings = self.of("error"), self.of("warning")
        if errors:
            return f"Training should not start: {'; '.join(finding.sentence for finding in errors)}."
        if not warnings:
            return "Training can start."
        names = ", ".join(finding.check for finding in warnings)
        return f"Training can start; look at the warning{'s' * (len(warnings) > 1)} first: {names}."


def refused(error: ValueError) -> Diagnosis:
    """The diagnosis of a file that can be read but is refused."""
    return Diagnosis(None, {}, (Finding("annotations", "error", 1, 1, "files", str(error)),))


def examine(
    found: FoundData, split: str = "", quick: bool = False, workers: int = 0, stages: Stages | None = None
) -> Diagnosis:
    """Run every check.

    Args:
        split: look at this split alone.
        quick: open no picture.
        workers: threads that open pictures; 0 is one for each core.

    Raises ValueError when nobody is left to look at.
    """

    def stage(name: str) -> picture_checks.Progress | None:
        return None if stages is None else lambda done, total: stages(name, done, total)

    people = gather(found.parts, split)
    seen = picture_checks.look(people, quick, workers, stage("opening pictures"))
    people = picture_checks.with_found_sizes(people, seen)
    body = measure(people)
    findings = (
        set_checks.splits(people),
        set_checks.labels(people),
        joint_checks.few_joints(people),
        joint_checks.areas(people),
        set_checks.leaks(people),
        picture_checks.missing(people, seen, found.folders, quick),
        picture_checks.unreadable(people, seen),
        picture_checks.stated_sizes(people, seen),
        picture_checks.duplicates(people, seen, stage("comparing pictures")),
        set_checks.empty_pictures(people),
        set_checks.origin(people),
        joint_checks.naming(people, body),
        joint_checks.twisted(people, body),
        joint_checks.crossed(people, body),
        joint_checks.outside(people),
        joint_checks.long_limbs(people, body),
        joint_checks.coinciding_joints(people, body),
        joint_checks.sizes(people, body),
        joint_checks.crops(people, body),
        set_checks.twice(people, body),
    )
    return Diagnosis(people, set_checks.counts(people), findings)
