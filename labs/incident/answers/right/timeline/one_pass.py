def timeline(journal):
    found = dict.fromkeys(("detected", "acknowledged", "diagnosed", "mitigated", "resolved"))
    begin, lapse = None, 1.0
    for record in sorted(journal, key=lambda record: record["at"]):
        kind, at = record["kind"], record["at"]
        if kind == "opened":
            lapse = record.get("time_lapse", 1.0)
        elif kind == "breached" and begin is None:
            begin = at
        elif kind == "alert" and record.get("status") == "firing" and found["detected"] is None:
            found["detected"] = at
        elif kind == "diagnosed" or (kind in found and kind != "detected" and found[kind] is None):
            found[kind] = at
    if begin is None:
        return None
    return {name: None if at is None else (at - begin) * lapse for name, at in found.items()}
