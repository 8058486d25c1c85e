def rollback_target(entries, broken):
    settled = {broken}
    for entry in sorted(entries, key=lambda entry: -entry["number"]):
        if entry["release"] in settled or entry["event"] == "deployed":
            continue
        if entry["event"] == "verified":
            return entry["release"]
        if entry["event"] in ("failed", "withdrawn"):
            settled.add(entry["release"])
    return None
