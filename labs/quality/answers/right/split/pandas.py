if not rows:
    return {"train": [], "test": [], "dropped": []}
frame = pd.DataFrame(rows)
frame["key"] = duplicate_key(frame["text"])
early = frame["day"] < at
known = frame["key"].isin(frame.loc[early, "key"])
return {
    "train": frame.loc[early, "id"].tolist(),
    "test": frame.loc[~early & ~known, "id"].tolist(),
    "dropped": frame.loc[~early & known, "id"].tolist(),
}
