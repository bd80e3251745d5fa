"""What the rule-based analyst listens for: words of callers, what they mean and how much they weigh."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Signal:
    """One thing a caller can make clear. `points` count only for leads and bookings."""

    name: str
    says: str
    """How a reason begins when this was heard."""
    pattern: re.Pattern[str]
    points: int = 0


def _signal(name: str, says: str, words: str, points: int = 0) -> Signal:
    return Signal(name, says, re.compile(rf"\b(?:{words})", re.IGNORECASE), points)


SPAM = _signal(
    "spam",
    "Sounds like a sales robot",
    r"survey|(?:extended|vehicle|car'?s?|auto) warranty|warranty (?:is |has )?(?:about to )?expir|"
    r"(?:google|business) listing|final (?:notice|attempt|courtesy)|press (?:one|two|nine|\d)\b|"
    r"lower (?:your )?interest rate|search engine ranking|you(?:'ve| have) been selected|"
    r"this is not a sales call|merchant services",
)
WRONG_NUMBER = _signal(
    "wrong_number",
    "Reached the wrong business",
    r"wrong number|didn'?t mean to call|dialed (?:the )?wrong|misdialed|(?:isn'?t|is not) this the ",
)
JOB = _signal(
    "job_seeker",
    "Asked about work here",
    r"are you (?:guys )?hiring|job (?:opening|posting|ad)|apply(?:ing)? for (?:a|the) (?:job|position)|"
    r"my (?:resume|application)|r[ée]sum[ée]|looking for (?:a job|work)\b|position you (?:posted|advertised)",
)
VENDOR = _signal(
    "vendor",
    "Offered something for sale",
    r"we (?:supply|offer|provide|sell) |our (?:products?|catalog|platform|services) |sales rep|"
    r"speak (?:to|with) (?:the person|whoever) (?:in charge|who handles)|business owner|partnership",
)
COMPLAINT = _signal(
    "complaint",
    "Complained",
    r"complain|unacceptable|refund|terrible|worst|ridiculous|disappointed|angry|furious|frustrat|"
    r"overcharged|lawyer|never (?:showed|came|called back)|didn'?t show|no[- ]show|"
    r"(?:still|again) (?:leak|broken|not working)|broken again|speak (?:to|with) (?:a|your|the) manager|bad review",
)
EXISTING = _signal(
    "existing_customer",
    "Is a customer already",
    r"my (?:appointment|invoice|account|bill|last visit|order|service plan|membership)|re-?schedul|"
    r"cancel (?:my|our|the)|your technician|you (?:guys )?(?:came|were) (?:out|here)|under warranty|"
    r"when (?:is|are) (?:he|she|they|someone) (?:coming|arriving)|i'?m a (?:customer|patient|member)",
)
BOOKING = _signal(
    "booking",
    "Wants to book",
    r"(?:to |please |can (?:i|we) |could (?:i|we) )?(?:book\b|schedule\b|reserve\b)|"
    r"(?:make|get|set up|need) an? (?:appointment|time)|come (?:out|over|by) (?:today|tomorrow|this|on|at)|"
    r"what times? (?:do you have|are you free|is available)|sign (?:me|us) up",
    15,
)
EMERGENCY = _signal(
    "emergency",
    "Has an emergency",
    r"emergency|burst|flood|gushing|sewage|gas (?:leak|smell)|smell gas|no (?:heat|hot water|power|water)\b|"
    r"water (?:is )?(?:everywhere|coming (?:in|through))|urgent|right away|as soon as possible|asap\b|locked out",
    25,
)
PRICE = _signal(
    "price",
    "Asked what it costs",
    r"quotes?\b|estimates?\b|pric(?:e|es|ing)\b|how much|what (?:do|would|does) (?:you|it|that) (?:charge|cost)|"
    r"costs?\b|rates?\b|financing",
    10,
)
NEED = _signal(
    "need",
    "Described a need",
    r"(?:i|we)(?:'m| am|'re| are)? (?:need|looking (?:for|to)|interested in|calling about|want)|"
    r"(?:fix|repair|replace|install|remodel|inspect|clean|renovat)\w*|"
    r"leak(?:s|ing|y)?\b|clogged|not working|broken|stopped working|won'?t (?:start|drain|turn)",
    5,
)
SOON = _signal(
    "soon",
    "Wants it soon",
    r"today|tonight|tomorrow|this (?:week|morning|afternoon|weekend)|next week|"
    r"(?:on )?(?:mon|tues|wednes|thurs|fri)day",
    5,
)
REACHABLE = _signal(
    "reachable",
    "Left a way to reach them",
    r"my (?:number|name|address|email) is|call me back|you can reach me|(?:i|we) live (?:at|on|in)|the address is",
    5,
)
HESITANT = _signal(
    "hesitant",
    "Is not ready to buy",
    r"just (?:curious|wondering|looking|checking)|shopping around|not (?:ready|in a hurry)|maybe (?:later|next year)|"
    r"too expensive|think about it",
    -20,
)
QUESTION = _signal(
    "question",
    "Asked a question",
    r"what (?:time|are your)|are you (?:open|located)|where are you|do you (?:guys )?(?:have|take|accept|offer|do)|"
    r"can you tell me|is it possible",
)

FIRM_INTENTS = (
    (SPAM, "spam"),
    (WRONG_NUMBER, "wrong_number"),
    (JOB, "job_seeker"),
    (VENDOR, "vendor"),
    (COMPLAINT, "complaint"),
    (EXISTING, "existing_customer"),
)
"""Heard in this order, the first decides, whatever else is said."""

LEAD_SIGNALS = (EMERGENCY, BOOKING, PRICE, NEED, SOON, REACHABLE, HESITANT)

BASE_SCORE = {
    "spam": 2,
    "wrong_number": 3,
    "vendor": 8,
    "job_seeker": 8,
    "incomplete": 10,
    "complaint": 25,
    "existing_customer": 35,
    "general_inquiry": 35,
    "new_lead": 50,
    "booking": 60,
}

NEXT_STEP = {
    "spam": "No action: mark the number as spam.",
    "wrong_number": "No action: the caller wanted somebody else.",
    "vendor": "No sales follow-up: pass the offer to purchasing if it is of interest.",
    "job_seeker": "Pass the caller on to whoever hires.",
    "incomplete": "Call back once to find out what the caller wanted.",
    "complaint": "Have a manager call back today and settle the complaint.",
    "existing_customer": "Look up the customer's job and answer the request.",
    "general_inquiry": "Answer the question and offer an appointment.",
    "new_lead": "Call back with a price and offer the next free appointment.",
    "booking": "Confirm the appointment in writing.",
}

GREETING = re.compile(
    r"(?:thank(?:s| you) for calling|how (?:can|may) (?:i|we) help|this call (?:may|is being|will be) record|"
    r"you(?:'ve| have) reached|leave (?:a|your) message|after the (?:tone|beep))",
    re.IGNORECASE,
)
"""What the business says, not the caller; on recordings without named parties it also tells who is who."""

VOICEMAIL = re.compile(r"voicemail: yes|leave (?:a|your) message|after the (?:tone|beep)", re.IGNORECASE)

POSITIVE = re.compile(
    r"\b(?:thank|great|perfect|awesome|wonderful|excellent|appreciate|happy|love|sounds good)", re.IGNORECASE
)
NEGATIVE = re.compile(
    r"\b(?:complain|unacceptable|terrible|worst|ridiculous|disappoint|angry|furious|frustrat|upset|refund|"
    r"overcharged|rude|lawyer|never (?:showed|came|called)|hate|awful|stop calling)",
    re.IGNORECASE,
)

TOPICS = {
    "water heater": r"water heater|hot water",
    "plumbing": r"plumb|pipe|faucet|toilet|drain|sewer|leak",
    "heating and cooling": r"furnace|air condition|hvac|heat pump|thermostat|no heat",
    "electrical": r"electric|outlet|breaker|wiring",
    "roofing": r"roof|shingle|gutter",
    "dental": r"dentist|tooth|teeth|crown|dental",
    "legal": r"attorney|accident|injury|divorce",
    "emergency": r"emergency|burst|flood|urgent",
    "pricing": r"quote|estimate|price|pricing|how much|cost",
    "appointment": r"appointment|schedul|book\b|reserve",
    "billing": r"invoice|bill\b|overcharged|refund|payment",
    "hiring": r"hiring|resume|job\b|position",
    "opening hours": r"\bopen\b|hours",
}
