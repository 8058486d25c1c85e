def timeline(journal):
    def moments(kind, status=None):
        return [r["at"] for r in journal if r["kind"] == kind and status in (None, r.get("status"))]

    begins = moments("breached")
    if len(begins) == 0:
        return None
    lapses = [r["time_lapse"] for r in journal if r["kind"] == "opened" and "time_lapse" in r]
    factor = lapses[0] if lapses else 1.0
    ends = {
        "detected": min(moments("alert", "firing"), default=None),
        "diagnosed": max(moments("diagnosed"), default=None),
    }
    for kind in ("acknowledged", "mitigated", "resolved"):
        ends[kind] = min(moments(kind), default=None)
    return {name: end if end is None else factor * (end - min(begins)) for name, end in ends.items()}
