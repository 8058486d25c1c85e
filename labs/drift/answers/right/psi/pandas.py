def psi(reference, current, bins=10):
    import pandas as pd

    before, after = pd.Series(reference, dtype=float), pd.Series(current, dtype=float)
    if after.empty:
        return None
    cuts = sorted(set(np.quantile(before.dropna(), [number / bins for number in range(1, bins)])))
    intervals = [-np.inf, *cuts, np.inf]

    def count(series):
        table = pd.cut(series, intervals, right=True).value_counts(sort=False).to_numpy()
        return np.append(table, series.isna().sum()) + 0.5

    p, q = (count(series) / count(series).sum() for series in (before, after))
    return float(np.sum(q * np.log(q / p)) - np.sum(p * np.log(q / p)))
