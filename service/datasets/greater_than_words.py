"""The nouns of the ``greater_than`` dataset: what can last for years.

The 120 nouns of Hanna et al. 2023, arXiv:2305.00586, section 3, as the authors publish them:
github.com/hannamw/EAP-IG, eap/potential_nouns.txt. Examples are drawn by index in this tuple, so any change, an
addition too, changes what every seed means.
"""

_NOUNS = """
    abduction accord affair agreement appraisal assaults assessment attack attempts campaign captivity case challenge
    chaos clash collaboration coma competition confrontation consequence conspiracy construction consultation contact
    contract convention cooperation custody deal decline decrease demonstrations development disagreement disorder
    dispute domination dynasty effect effort employment endeavor engagement epidemic evaluation exchange existence
    expansion expedition experiments fall fame flights friendship growth hardship hostility illness impact imprisonment
    improvement incarceration increase insurgency invasion investigation journey kingdom marriage modernization
    negotiation notoriety obstruction operation order outbreak outcome overhaul patrols pilgrimage plague plan practice
    process program progress project pursuit quest raids reforms reign relationship retaliation riot rise rivalry
    romance rule sanctions shift siege slump stature stint strikes study test testing tests therapy tour tradition
    treaty trial trip unemployment voyage warfare work
"""
NOUNS = tuple(_NOUNS.split())
