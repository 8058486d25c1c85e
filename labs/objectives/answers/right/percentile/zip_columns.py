together = [(column[0][0], sum(count for _, count in column)) for column in zip(*replicas)]
if not together or together[-1][1] == 0:
    return None
return next(bound for bound, count in together if count / together[-1][1] >= share)
