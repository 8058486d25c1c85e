def missed(comments, now, delay, least):
    labelled = spam = slipped = 0
    for comment in comments:
        arrived = comment["labelled_at"]
        if now - comment["created"] < delay or arrived is None or arrived > now:
            continue
        labelled += 1
        if comment["label"]:
            spam += 1
            slipped += 1 - comment["verdict"]
    enough = spam > 0 and spam >= least
    return {"labelled": labelled, "spam": spam, "missed": slipped / spam if enough else None}
