def diagnose(evidence):
    import pandas as pd

    table = pd.DataFrame(evidence["slis"], dtype=float)
    end = table.iloc[25:].dropna()
    if len(end) < 4:
        return "telemetry gap"
    least = pd.Series(evidence["tolerances"])[table.columns]
    out = [name for name in table if (end[name] < least[name]).all()]
    if not out:
        return "nothing"
    begins = []
    for name in out:
        values = table[name].dropna()
        fine = values.index[values >= least[name]]
        after = values.index[values.index > fine[-1]] if len(fine) else values.index
        begins.append(after[0])
    released = evidence["released_at"]
    if released is not None and min(begins) in range(released, released + 6):
        return "bad release"
    others = pd.DataFrame({name: evidence[name] for name in ("server_ms", "new_accounts")}, dtype=float)
    grown = others.iloc[25:].mean() / others.iloc[:20].mean()
    if out == ["spam_held"] and grown["new_accounts"] >= 2:
        return "spam campaign"
    return "slow network" if "fast" in out and grown["server_ms"] < 1.5 else "service fault"
