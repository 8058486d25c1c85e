def quality_gate(labels, old, new, margin):
    import numpy as np

    known = np.array([label is not None for label in labels], dtype=bool)
    n = int(known.sum())
    if n == 0:
        return {"gained": 0, "lost": 0, "low": -1.0, "passes": False}
    truth = np.array([bool(label) for label in labels])[known]
    old_right, new_right = (np.array(said)[known] == truth for said in (old, new))
    gained, lost = (new_right & ~old_right).sum(), (old_right & ~new_right).sum()
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    low = (p - q) - 1.645 * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return {"gained": int(gained), "lost": int(lost), "low": float(low), "passes": bool(margin + low > 0)}
