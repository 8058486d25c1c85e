def mitigations(problems):
    table = {
        "service stopped": ("restart", "name", "what"),
        "bad release": ("roll_back", "to", "previous"),
        "slow network": ("repair_network", "wire", "what"),
        "spam campaign": ("block_campaign", None, None),
    }
    kept = [p for p in problems if p["kind"] in table and p["harmed"] != 0]
    versions = [p["what"] for p in kept if p["kind"] == "bad release"]
    kept = [
        p
        for p in kept
        if p["kind"] != "service stopped" or not (p["what"][:7] == "filter-" and p["what"][7:].rsplit("-", 1)[0] in versions)
    ]
    kept.sort(key=lambda p: p["harmed"], reverse=True)
    steps = {}
    for p in kept:
        action, argument, source = table[p["kind"]]
        step = {"do": action} | ({argument: p[source]} if argument else {})
        steps.setdefault(str(step), step)
    blind = [{"do": "reconnect_telemetry"}] if any(p["kind"] == "telemetry gap" for p in problems) else []
    return list(steps.values()) + blind
