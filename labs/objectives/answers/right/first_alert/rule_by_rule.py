from collections import deque


def first_of(rate, length_long, length_short):
    windows = [deque(maxlen=length_long), deque(maxlen=length_short)]
    sums = [[0, 0], [0, 0]]
    for now, (bad, total) in enumerate(minutes):
        burning = []
        for window, sums_of in zip(windows, sums):
            if len(window) == window.maxlen:
                old_bad, old_total = window[0]
                sums_of[0] -= old_bad
                sums_of[1] -= old_total
            window.append((bad, total))
            sums_of[0] += bad
            sums_of[1] += total
            burning.append(sums_of[1] > 0 and sums_of[0] / sums_of[1] / (1 - target) > rate)
        if all(burning):
            return now
    return None


found = [(first_of(*numbers), place, name) for place, (name, *numbers) in enumerate(rules)]
found = [one for one in found if one[0] is not None]
return (min(found)[2], min(found)[0]) if found else None
