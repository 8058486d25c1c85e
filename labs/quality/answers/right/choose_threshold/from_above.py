ham = sorted((s for i, s in enumerate(scores) if labels[i] == 0), reverse=True)
best = None
for candidate in sorted(scores, reverse=True):
    blocked = len([s for s in ham if s >= candidate])
    share = blocked / len(ham) if ham else 0
    if share > most_blocked:
        break
    best = candidate
return best
