counts = {}
for buckets in replicas:
    for bound, count in buckets:
        counts[bound] = counts.get(bound, 0) + count
everything = counts.get(float("inf"), 0)
within = sorted(bound for bound, count in counts.items() if count >= everything * share)
return within[0] if everything > 0 else None
