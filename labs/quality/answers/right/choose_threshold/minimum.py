n_ham = labels.count(0)


def share_blocked(t):
    return sum(1 for y, s in zip(labels, scores) if y == 0 and s >= t) / n_ham if n_ham else 0.0


return min((t for t in scores if share_blocked(t) <= most_blocked), default=None)
