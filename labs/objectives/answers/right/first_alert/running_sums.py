bad, events = [0], [0]
for one_bad, one_total in minutes:
    bad.append(bad[-1] + one_bad)
    events.append(events[-1] + one_total)


def share(end, length):
    start = max(0, end - length)
    n = events[end] - events[start]
    return (bad[end] - bad[start]) / n if n else 0.0


for end in range(1, len(minutes) + 1):
    firing = [name for name, rate, *lengths in rules if all(share(end, n) > rate * (1 - target) for n in lengths)]
    if firing:
        return [firing[0], end - 1]
