import pandas as pd

frame = pd.DataFrame(events, columns=["status", "seconds"])
frame = frame[(frame["status"] < 400) | (frame["status"] >= 500)]
if frame.empty:
    return dict(valid=0, availability=None, latency=None)
fine = frame["status"] < 500
return dict(
    valid=len(frame),
    availability=float(fine.mean()),
    latency=float((fine & (frame["seconds"] <= limit)).mean()),
)
