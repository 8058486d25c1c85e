def diagnose(evidence):
    minutes = [m for m in range(30) if evidence["slis"]["fast"][m] is not None]
    end = [m for m in minutes if m >= 25]
    past = [m for m in minutes if m < 20]
    if len(end) <= 3:
        return "telemetry gap"
    starts = {}
    for name, series in evidence["slis"].items():
        run = []
        for m in minutes:
            run = [*run, m] if series[m] < evidence["tolerances"][name] else []
        if run and run[0] <= end[0]:
            starts[name] = run[0]
    if len(starts) == 0:
        return "nothing"

    def ratio(series):
        return (sum(series[m] for m in end) / len(end)) / (sum(series[m] for m in past) / len(past))

    if evidence["released_at"] is not None:
        late = min(starts.values()) - evidence["released_at"]
        if late >= 0 and late <= 5:
            return "bad release"
    if set(starts) == {"spam_held"} and ratio(evidence["new_accounts"]) >= 2:
        return "spam campaign"
    if "fast" in starts and ratio(evidence["server_ms"]) < 1.5:
        return "slow network"
    return "service fault"
