from collections import Counter

kinds = Counter()
for label, old, new in zip(labels, champion, challenger):
    kinds[label, old == label, new == label] += 1
out = {}
for label, name in enumerate(("ham", "spam")):
    n = sum(count for (which, _, _), count in kinds.items() if which == label)
    gained, lost = kinds[label, False, True], kinds[label, True, False]
    out[name] = {"n": n, "gained": gained, "lost": lost, "low": None if n == 0 else lower_bound(n, gained, lost)}
shown = [side["n"] > 0 and side["low"] > -margin for side in out.values()]
return {**out, "release": shown == [True, True]}
