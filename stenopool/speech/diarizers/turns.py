"""Small things that every diarizer needs: speakers in order of speech, turns in order of time."""

from collections.abc import Iterable

from stenopool.speech.transcript import SpeakerTurn


def order_turns(turns: Iterable[tuple[float, float, object]]) -> list[SpeakerTurn]:
    """Turns ``(start, end, anybody)`` in seconds, sorted, speakers named SPEAKER_00, ... as they are first heard.

    What is empty once rounded to milliseconds is left out: it would be a turn without a word in it.
    """
    names: dict[object, str] = {}
    ordered: list[SpeakerTurn] = []
    for start, end, who in sorted(turns, key=lambda turn: turn[:2]):
        if round(end, 3) > round(start, 3):
            name = names.setdefault(who, f"SPEAKER_{len(names):02d}")
            ordered.append(SpeakerTurn(start=start, end=end, speaker=name))
    return ordered
