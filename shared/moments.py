"""Times and durations as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta


def duration(length: timedelta) -> str:
    """`14 s`, `3 min`, `2 h 5 min`, `3 days`."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def moment(at: datetime, *, now: datetime) -> str:
    """`12:05:00 UTC (in 4 min)`, with the date on another day."""
    form = "%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return f"{at.strftime(form)} ({_distance(at - now)})"


def _distance(ahead: timedelta) -> str:
    if abs(ahead) < timedelta(seconds=1):
        return "now"
    return f"in {duration(ahead)}" if ahead > timedelta() else f"{duration(-ahead)} ago"
