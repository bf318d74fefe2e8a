"""How time and progress are put into words. No Qt here."""

from __future__ import annotations

from napari_synthseg.jobs import Progress


def duration(seconds: float | None) -> str:
    """A time in at most two units: "3 h 12 min", "40 s"; empty where it is not known."""
    if seconds is None or seconds != seconds or seconds < 0:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours and days < 10 else f"{days} days"


def so_far(report: Progress, seconds: float) -> str:
    """What a running job does, and for how long it runs: "Network (3 of 12), 1 min 5 s"."""
    count = f" ({report.done} of {report.total})" if report.total > 1 else ""
    return f"{report.stage}{count}{f', {elapsed(seconds)}' if seconds >= 1 else ''}"


def elapsed(seconds: float) -> str:
    """A time that goes on, to the second for an hour, so that it is seen to go on."""
    if not 60 <= seconds < 3600:
        return duration(seconds)
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s"
