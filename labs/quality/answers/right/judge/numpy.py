import numpy as np

is_spam, called = np.array(labels, dtype=bool), np.array(verdicts, dtype=bool)
tp, fn = int((is_spam & called).sum()), int((is_spam & ~called).sum())
fp, tn = int((~is_spam & called).sum()), int((~is_spam & ~called).sum())
n = tp + fn + fp + tn
root = np.sqrt(float(tp + fp)) * np.sqrt(float(tp + fn)) * np.sqrt(float(tn + fp)) * np.sqrt(float(tn + fn))
return dict(
    tp=tp,
    fn=fn,
    fp=fp,
    tn=tn,
    accuracy=(tp + tn) / n if n > 0 else None,
    recall=tp / (tp + fn) if tp + fn > 0 else None,
    precision=tp / (tp + fp) if tp + fp > 0 else None,
    mcc=float((tp * tn - fp * fn) / root) if root > 0 else 0.0,
)
