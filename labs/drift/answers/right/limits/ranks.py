def limits(quiet, weeks, checks_per_week):
    """Each window's highest rank in any column; the limit is the rank that so few windows exceed."""
    n = len(next(iter(quiet.values())))
    ranks = np.array([np.argsort(np.argsort(distances)) for distances in quiet.values()])
    allowed = math.floor(n / (weeks * checks_per_week))
    rank = np.sort(ranks.max(axis=0))[n - 1 - allowed]
    return {name: sorted(distances)[int(rank)] for name, distances in quiet.items()}
