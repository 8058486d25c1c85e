took = {name: round(seconds) for name, seconds in asdict(times(journal)).items()}
items = [
    ("a supervisor for the gateway, tested by stopping it", "prevent", "platform team", "https://tracker.example/301"),
    ("runbook: ask each service whether it answers, before a restart", "mitigate", "operations lead", "#302"),
    ("rehearse it with the next rota", "process", "incident commander", "#303"),
    ("page when the queue of pending comments grows", "detect", "on-call B", "#304"),
]
postmortem["action_items"] = [dict(zip(("what", "kind", "owner", "tracking"), item)) for item in items]
postmortem.update(
    status="final",
    authors=["incident commander", "communications lead"],
    summary="A single gateway was not watched by anything that could start it. It ended; comments waited.",
    impact=f"Readers waited for their comments for {took['mitigated']} seconds; 212 comments were late, 0 were lost.",
    root_causes="One gateway, no supervisor, and an alert that names the symptom only.",
    detection=f"By the burn-rate alert, {took['detected']} seconds after readers met it.",
    resolution="The gateway was started again; the restart of the filter before that changed nothing.",
    went_well=["Acknowledged within minutes."],
    went_wrong=["The filter was restarted first, because the runbook begins with it."],
    got_lucky=["The blog keeps what it accepts."],
    supporting_information="The journal, the dashboards of that hour, and the record of the readers.",
)
