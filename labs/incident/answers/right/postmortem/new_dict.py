def action(what, kind, owner, number):
    return {"what": what, "kind": kind, "owner": owner, "tracking": f"ticket {number}"}


postmortem = {
    **postmortem,
    "status": "final",
    "title": "Comments stayed pending",
    "summary": "Comments were taken, stored and not passed on, until the gateway was started again.",
    "impact": "1440 s long, 212 honest comments did not appear at once. None was lost.",
    "detection": "270 s after the breach, by the alert on honest comments; acknowledged after 420 s.",
    "root_causes": "What starts filters again does not know the gateway. A service that had ended looked like one that is idle.",
    "went_well": ["Readers were told what they notice, within nine minutes."],
    "went_wrong": ["Nothing on the first screen showed which service was away."],
    "got_lucky": ["The gateway started at the first try."],
    "action_items": [
        action("supervise the gateway", "prevent", "platform team", 11),
        action("probe the gateway from outside", "detect", "monitoring team", 12),
        action("a second gateway that takes over", "mitigate", "platform team", 13),
    ],
}
