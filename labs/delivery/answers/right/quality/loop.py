def quality_gate(labels, old, new, margin):
    n = gained = lost = 0
    for label, before, after in zip(labels, old, new):
        if label is None:
            continue
        n += 1
        if before != after:
            if after == label:
                gained += 1
            else:
                lost += 1
    low = -1.0
    if n:
        difference = (gained - lost) / (n + 2)
        low = difference - 1.645 * (((gained + lost + 2) / (n + 2) - difference**2) / (n + 2)) ** 0.5
    return {"gained": gained, "lost": lost, "low": low, "passes": n > 0 and low > -margin}
