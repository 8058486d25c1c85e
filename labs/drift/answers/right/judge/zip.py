COLUMNS = ("words", "links", "score", "crowd", "label")


def judge(reference, current, most):
    rows = list(zip(*(current[name] for name in COLUMNS)))
    if len(rows) < 30:
        return "unknown"

    def far(some):
        far_columns = set()
        for place, name in enumerate(COLUMNS[:3]):
            distance = apart(reference[name], [row[place] for row in some])
            if distance * len(some) > most[name] * len(rows):
                far_columns.add(name)
        return far_columns

    moved = far(rows)
    if moved == set():
        return "nothing"
    crowd, others = [row for row in rows if row[3]], [row for row in rows if not row[3]]
    more = len(crowd) / len(rows) >= 0.05 and len(crowd) / len(rows) >= 2 * np.mean(reference["crowd"])
    if more and len(others) >= 30 and not far(others):
        spam, ham = (sum(row[4] == value for row in crowd) for value in (1, 0))
        return "benign shift" if ham > spam else "spam campaign"
    return "benign shift" if moved & {"words", "links"} else "broken filter"
