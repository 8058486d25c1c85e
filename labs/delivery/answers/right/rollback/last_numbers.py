def rollback_target(entries, broken):
    def last(release, *events):
        return max((e["number"] for e in entries if e["release"] == release and e["event"] in events), default=-1)

    found = [(last(name, "verified"), name) for name in {e["release"] for e in entries} - {broken}]
    found = [(number, name) for number, name in found if number > last(name, "failed", "withdrawn")]
    return max(found)[1] if found else None
