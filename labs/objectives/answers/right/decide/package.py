from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe import policy

unknown = float("nan")
try:
    allowed = policy.decide(unknown if remaining is None else remaining, change).allowed
except ObjectiveError as error:
    raise ValueError(str(error)) from error
duties = {name: policy.postmortem(unknown if spent is None else spent) for name, spent in incidents.items()}
return {"ships": allowed, "postmortems": sorted(name for name, duty in duties.items() if duty.required)}
