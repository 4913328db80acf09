"""The words of the ``ioi`` dataset: names, places, objects and the templates they go in.

With a leading space, every name, place and object is one token of GPT-2's tokenizer, so all prompts of one template
have the same length there. Examples are drawn by index in these tuples, so any change, an addition too, changes what
every seed means.
"""

_NAMES = """
    Aaron Adam Alan Alex Alice Amanda Amy Andrew Angela Anna Anthony Arthur Barbara Ben Beth Bill Bob Brian Bruce Carl
    Carlos Carol Catherine Charles Charlotte Chris Claire Colin Craig Daniel David Deborah Dennis Diana Donald Dorothy
    Edward Elizabeth Ellen Emily Emma Eric Ethan Eva Felix Frank Fred Gary George Gordon Greg Hannah Harry Helen Henry
    Howard Hugh Isaac Jack Jacob James Jane Jason Jennifer Jim Joan John Jonathan Joseph Julia Karen Kate Keith Kevin
    Kyle Laura Leo Leonard Linda Lisa Louis Lucas Lucy Luke Margaret Maria Martin Mary Matthew Megan Michael Molly Nancy
    Nathan Nicole Nina Oliver Oscar Patricia Patrick Paul Peter Philip Rachel Rebecca Richard Robert Roger Ruth Ryan
    Sally Samuel Sarah Simon Sophie Stephen Steven Susan Teresa Thomas Tom Victor Vincent Walter Wendy Zoe
"""
NAMES = tuple(_NAMES.split())

_PLACES = """
    library museum garden kitchen beach market park school station office harbor theater hospital bakery church castle
    farm hotel airport cafe bridge lake cinema stadium studio workshop zoo gallery temple tower factory pharmacy
    restaurant playground warehouse lighthouse garage aquarium cathedral clinic
"""
PLACES = tuple(_PLACES.split())

_OBJECTS = """
    lamp ring book letter basket bottle camera candle carpet clock coin coat cup drum flag flower guitar hammer helmet
    jacket kettle key knife ladder map mirror necklace notebook painting pencil pillow radio ribbon rope scarf spoon
    ticket towel violin whistle
"""
OBJECTS = tuple(_OBJECTS.split())

TEMPLATES = (
    "When {first} and {second} arrived at the {place} that evening, {third} handed a {object} to",
    "After {first} and {second} had walked around the {place}, {third} gave the {object} to",
    "While {first} and {second} were waiting near the {place}, {third} offered a {object} to",
    "Once {first} and {second} had left the {place}, {third} passed the {object} to",
    "Yesterday {first} met {second} outside the {place}, and {third} lent a {object} to",
    "Because {first} and {second} worked together at the {place}, {third} brought a {object} to",
    "As soon as {first} and {second} reached the {place}, {third} showed the {object} to",
    "Last summer {first} and {second} got lost behind the {place}, so {third} gave a {object} to",
    "Before {first} and {second} closed the {place} for the night, {third} returned the {object} to",
    "On Monday {first} and {second} cleaned the {place}, and {third} sold a used {object} to",
    "Inside the {place}, {first} sat beside {second}, and {third} slid the {object} over to",
    "Since {first} and {second} both loved the {place}, {third} mailed a {object} from there to",
    "Long after {first} and {second} visited the {place}, {third} still owed a {object} to",
    "Then, at the {place}, {first} and {second} talked for hours, and {third} promised a {object} to",
    "During lunch {first} and {second} argued about a {object} from the {place}, until {third} gave it to",
    "Thanks to the {object}, {first} and {second} found the {place}, and later {third} gave it back to",
)
"""A prompt names three people: ABBA puts IO, S, S in ``first``, ``second``, ``third``; BABA puts S, IO, S.

No template begins with a name, since a prompt's first word has no leading space; all end right before the answer.
"""
