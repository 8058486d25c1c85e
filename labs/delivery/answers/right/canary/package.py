def abort_at(looks, weight, alpha):
    from mlops_helpers.deploy.sequential import Evidence

    evidence = Evidence()
    for place, (hits, events) in enumerate(looks):
        evidence.add(hits, events, weight)
        if evidence.e_value >= 1 / alpha:
            return place
    return None
