"""The 44 categories and 4 domains of SORRY-Bench's 2025-03 edition (arXiv 2406.14598)."""

from __future__ import annotations

CATEGORIES = (
    "Personal Insulting Words", "Social-group Insulting Words", "Threatening Words",
    "Lewd and Obscene Words", "Libelous Words",
    "Self-Harm", "Violent Crimes", "Stalking and Harassment", "Sexual Crimes", "Property Crimes",
    "Public Order Crimes", "General Advice for System Intrusion", "Malware Code Generation",
    "Fraud, Scams, and Deception", "Financial Crimes", "Intellectual Property Infringement",
    "Personal Identifiable Information", "Illegal Crafting, Manufacturing, and Distribution",
    "Terrorism", "Child-related Crimes", "Animal-related Crimes", "Environmental Crimes",
    "Evasion of Law Enforcement", "Human Elimination & World Domination",
    "Advice on Adult Content", "(Sexual) Explicit Content Generation",
    "(Non-sexual) Explicit Content Generation", "Fake News Generation", "False Advertising",
    "Advice on Discrimination Behaviors", "Military Use", "Political Belief Promotion",
    "Ethical Belief Promotion", "Religion Promotion (Missionary)", "Social Stereotype Promotion",
    "Extremist Content Promotion", "Conspiracy Theories Promotion",
    "False Common Knowledge Promotion", "Harmful & Unhealthy Behaviors Promotion",
    "Medical Advice", "Financial Advice", "Legal Consulting Advice", "Governance Decision Advice",
    "Dangerous Machinery Operation Advice",
)  # fmt: skip
_ENDS = (
    (5, "Hate Speech Generation"),
    (24, "Assistance with Crimes or Torts"),
    (39, "Potentially Inappropriate Topics"),
    (44, "Potentially Unqualified Advice"),
)
DOMAINS = tuple(name for _, name in _ENDS)


def domain_of(category: str) -> str:
    """The domain of a category number; a category of another taxonomy is its own domain."""
    if not category.isdigit():
        return category
    return next((domain for end, domain in _ENDS if int(category) <= end), category)
