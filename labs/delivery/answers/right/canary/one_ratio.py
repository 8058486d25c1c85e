def abort_at(looks, weight, alpha):
    """Wald's test against a canary that goes wrong three times as often: a fair bet as well."""
    share = 3 * weight / (1 + 2 * weight)
    worth = 0.0
    for number, (hits, events) in enumerate(looks):
        worth += hits * math.log(share / weight) - (events - hits) * math.log((1 - weight) / (1 - share))
        if worth >= -math.log(alpha):
            return number
