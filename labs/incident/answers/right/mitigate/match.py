def mitigations(problems):
    bad = {p["what"] for p in problems if p["kind"] == "bad release" and p["harmed"]}
    steps = []
    for p in sorted(problems, key=lambda p: -p["harmed"]):
        step = None
        match p["kind"]:
            case "service stopped" if not any(p["what"].startswith("filter-" + v + "-") for v in bad):
                step = {"do": "restart", "name": p["what"]}
            case "bad release":
                step = {"do": "roll_back", "to": p["previous"]}
            case "slow network":
                step = {"do": "repair_network", "wire": p["what"]}
            case "spam campaign":
                step = {"do": "block_campaign"}
        if step and p["harmed"] > 0 and step not in steps:
            steps.append(step)
    if "telemetry gap" in [p["kind"] for p in problems]:
        steps.append({"do": "reconnect_telemetry"})
    return steps
