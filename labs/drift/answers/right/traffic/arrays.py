def traffic(samples, start, end, every):
    table = np.array(samples, dtype=float).reshape(-1, 2)
    table = table[(table[:, 0] >= start) & (table[:, 0] <= end)]
    times, steps = np.diff(table[:, 0]), np.diff(table[:, 1])
    steps = np.where(steps < 0, table[1:, 1], steps)
    connected = times <= 2 * every
    covered = times[connected].sum()
    if covered < (end - start) * 0.8:
        return {"state": "unknown", "per_second": None}
    rate = steps[connected].sum() / covered
    return {"state": ["no traffic", "traffic"][int(rate > 0)], "per_second": float(rate)}
