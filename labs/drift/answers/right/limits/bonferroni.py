def limits(quiet, weeks, checks_per_week):
    share = 1 / weeks / checks_per_week / len(quiet)
    return {name: float(np.quantile(distances, 1 - share)) for name, distances in quiet.items()}
