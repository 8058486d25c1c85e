counts = {"tp": 0, "fn": 0, "fp": 0, "tn": 0}
for i in range(len(labels)):
    if labels[i] == 1:
        counts["tp" if verdicts[i] == 1 else "fn"] += 1
    else:
        counts["fp" if verdicts[i] == 1 else "tn"] += 1


def share(part, whole):
    return None if whole == 0 else part / whole


tp, fn, fp, tn = counts["tp"], counts["fn"], counts["fp"], counts["tn"]
import math

product = math.prod([tp + fp, tp + fn, tn + fp, tn + fn])
counts["mcc"] = 0.0 if product == 0 else (tp * tn - fp * fn) / math.sqrt(product)
counts["accuracy"] = share(tp + tn, len(labels))
counts["recall"] = share(tp, sum(labels))
counts["precision"] = share(tp, sum(verdicts))
return counts
