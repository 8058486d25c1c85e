def judge(reference, current, most):
    import pandas as pd

    now = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in current.items()})
    if now.shape[0] < 30:
        return "unknown"

    def alarms(table):
        factor = len(now) / len(table)
        found = {name: apart(reference[name], list(table[name])) > limit * factor for name, limit in most.items()}
        return pd.Series(found)

    moved = alarms(now)
    if not moved.any():
        return "nothing"
    crowd, rest = now[now["crowd"] == 1], now[now["crowd"] != 1]
    share = (now["crowd"] == 1).mean()
    if share >= 0.05 and share >= 2 * sum(reference["crowd"]) / len(reference["crowd"]) and len(rest) >= 30:
        if not alarms(rest).any():
            return "benign shift" if crowd["label"].mean() < 0.5 else "spam campaign"
    return "benign shift" if moved["words"] or moved["links"] else "broken filter"
