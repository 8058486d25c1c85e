from decimal import Decimal

allowed = (1 - Decimal(str(target))) * total
left = allowed - (total - good)
spent = float((total - good) / allowed) if total else None
return dict(
    allowed=float(allowed),
    spent=spent,
    remaining=float(left / allowed) if total else None,
    events_left=float(left),
)
