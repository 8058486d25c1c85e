def abort_at(looks, weight, alpha):
    """Look k may spend alpha / (k (k + 1)), which adds up to alpha for ever; Chernoff bounds the tail."""
    hits = events = 0
    for place, (more_hits, more) in enumerate(looks):
        hits, events = hits + more_hits, events + more
        share = hits / max(events, 1)
        if share > weight:
            bound = -hits * math.log(share / weight)
            if hits < events:
                bound -= (events - hits) * math.log((1 - share) / (1 - weight))
            if math.exp(bound) <= alpha / ((place + 1) * (place + 2)):
                return place
    return None
