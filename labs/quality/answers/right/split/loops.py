train, test, dropped = [], [], []
keys = []
for row in rows:
    if row["day"] < at:
        train.append(row["id"])
        keys.append(key(row["text"]))
for row in rows:
    if row["day"] >= at and key(row["text"]) not in keys:
        test.append(row["id"])
    elif row["day"] >= at:
        dropped.append(row["id"])
return {"train": train, "test": test, "dropped": dropped}
