found = {}
for name in {row["slice"] for row in rows}:
    ham = [row["verdict"] for row in rows if row["slice"] == name and row["label"] == 0]
    n, k, low, high = len(ham), sum(ham), None, None
    if n:
        p, z = k / n, 1.96
        middle, scale = p + z**2 / (2 * n), 1 + z**2 / n
        reach = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
        low, high = (middle - reach) / scale, (middle + reach) / scale
    if n < least or n == 0:
        verdict = "too few"
    else:
        verdict = "worse" if low > limit else "fine" if high <= limit else "not decided"
    found[name] = {"ham": n, "blocked": k, "low": low, "high": high, "verdict": verdict}
return found
