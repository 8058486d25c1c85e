def psi(reference, current, bins=10):
    if not current:
        return None
    ordered = sorted(value for value in reference if value is not None)
    edges = []
    for cut in range(1, bins):
        place = cut / bins * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        edge = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
        if edge not in edges:
            edges.append(edge)
    total = 0.0
    for number in range(-1, len(edges) + 1):
        shares = []
        for sample in (reference, current):
            places = [-1 if value is None else sum(edge < value for edge in edges) for value in sample]
            shares.append((places.count(number) + 0.5) / (len(sample) + 0.5 * (len(edges) + 2)))
        p, q = shares
        total += (q - p) * math.log(q / p)
    return total
