def limits(quiet, weeks, checks_per_week):
    middle = {name: float(np.median(distances)) for name, distances in quiet.items()}
    largest = sorted(max(row) for row in zip(*([d / middle[name] for d in quiet[name]] for name in quiet)))
    factor = largest[min(len(largest) - 1, math.ceil(len(largest) * (1 - 1 / (weeks * checks_per_week))))]
    return {name: factor * middle[name] for name in quiet}
