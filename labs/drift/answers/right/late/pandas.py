def missed(comments, now, delay, least):
    import pandas as pd

    columns = ["created", "labelled_at", "label", "verdict"]
    table = pd.DataFrame(comments, columns=columns).astype(float)
    table = table[(table["created"] + delay <= now) & (table["labelled_at"] <= now)]
    verdicts = table.loc[table["label"].eq(1), "verdict"]
    known = len(verdicts) >= max(least, 1)
    return {"labelled": len(table), "spam": len(verdicts), "missed": float(1 - verdicts.mean()) if known else None}
