def wilson(k, n, z=1.96):
    root = z * ((k * (n - k)) / n + z * z / 4) ** 0.5
    return (k + z * z / 2 - root) / (n + z * z), (k + z * z / 2 + root) / (n + z * z)


table = {row["slice"]: [0, 0] for row in rows}
for row in rows:
    if not row["label"]:
        table[row["slice"]][row["verdict"]] += 1
out = {}
for name, (passed, blocked) in table.items():
    n = passed + blocked
    low, high = wilson(blocked, n) if n else (None, None)
    if n == 0 or n < least:
        verdict = "too few"
    elif low > limit:
        verdict = "worse"
    elif high > limit:
        verdict = "not decided"
    else:
        verdict = "fine"
    out[name] = dict(ham=n, blocked=blocked, low=low, high=high, verdict=verdict)
return out
