def traffic(samples, start, end, every):
    inside = [(t, v) for t, v in samples if not (t < start or t > end)]
    pairs = [(inside[i - 1], inside[i]) for i in range(1, len(inside))]
    pairs = [(a, b) for a, b in pairs if b[0] - a[0] <= every * 2]
    seen = sum(b[0] - a[0] for a, b in pairs)
    if seen / (end - start) < 0.8:
        return {"per_second": None, "state": "unknown"}
    came = sum(b[1] - (a[1] if b[1] >= a[1] else 0) for a, b in pairs)
    return {"per_second": came / seen, "state": "no traffic" if came == 0 else "traffic"}
