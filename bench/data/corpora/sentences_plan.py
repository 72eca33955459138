"""What the voices of the synthetic corpus say in sentences, before any sound is made."""

from __future__ import annotations

from bench.data.corpora.synthetic_plan import WORDS, Clip, Speaker, SyntheticConfig, make_speakers
from bench.data.corpora.voices import draws

# Ordinary words; none sounds like one of WORDS (to and too are two, for is four, know is no, write is right).
_COMMON = """
    a about above across after again air all almost along also always am an and animal another answer
    any are around as ask at away back be because been before began behind being below best better big
    black blue boat book both boy bring brother build but by call came can car carry change children
    city class clear close cold colour come could country cut day did different do does done door draw
    dry during each early earth eat egg end enough even evening every example eye face fall family far
    farm fast father feel feet few field find fire first fish floor follow food form found friend from
    full game garden gave get girl give glass good great green ground group grow had half hand hard has
    have he head hear heart heavy help her here high him his hold home horse hot hour how hundred idea
    if important in inside is island it just keep kind king land large last late laugh learn leave let
    letter life light like line listen little live long look lost love low made make man many may me
    mean measure men might mile milk mind minute money moon more morning most mother mountain move much
    music must my name near need never new night north nothing notice now number of often old only open
    or order other our out over own page paper part people perhaps person picture place plan plant play
    point power problem pull question quick rain ran reach read ready real remember rest river road rock
    room round run said same saw say school science sea second see seem sentence set several shape she
    ship short should show side simple since sing sister sit sleep slow small snow so some song soon
    sound south space special spell stand star start state stay step still story street strong study
    such summer sun sure table take talk teach tell ten than that the their them then there these they
    thing think this thought thousand through time today together told took top toward town travel try
    turn under until us use usual very voice wait walk wall want war warm was watch water way we week
    weather well went were west what wheel when where which while white who whole why will wind window
    winter wish with without wonder wood word work world would year yellow yesterday you young your
"""
COMMON = tuple(_COMMON.split())
FEWEST_WORDS, MOST_WORDS = 5, 12
# Of the words of a sentence; every third sentence has none, and serves as babble.
CORPUS_SHARE, PLAIN_EVERY = 0.4, 3
COMMA_FROM_WORDS = 8


def make_sentences(config: SyntheticConfig) -> list[Clip]:
    """All sentences, ordered by split and speaker: clips whose word is what is said."""
    return [
        Clip(speaker, sentence(config.seed, speaker, take), take)
        for speakers in make_speakers(config).values()
        for speaker in speakers
        for take in range(config.n_sentences)
    ]


def is_plain(clip: Clip) -> bool:
    """Whether a sentence holds none of the corpus's words."""
    return _plain(clip.take)


def _plain(take: int) -> bool:
    return take % PLAIN_EVERY == PLAIN_EVERY - 1


def sentence(seed: int, speaker: Speaker, take: int) -> str:
    """Words drawn one by one, none twice in a row; a longer sentence has a pause at a comma.

    Examples:
        >>> voice = Speaker("f1-000", "train", "f1", "f1", "en-us")
        >>> sentence(0, voice, 0) == sentence(0, voice, 0) != sentence(0, voice, 1)
        True
    """
    rng = draws(seed, "sentence", speaker.name, take)
    share = 0.0 if _plain(take) else CORPUS_SHARE
    words: list[str] = []
    count = int(rng.integers(FEWEST_WORDS, MOST_WORDS + 1))
    while len(words) < count:
        word = str(rng.choice(WORDS if rng.random() < share else COMMON))
        if words[-1:] != [word]:
            words.append(word)
    if count >= COMMA_FROM_WORDS:
        words[int(rng.integers(2, count - 3))] += ","
    return " ".join(words)
