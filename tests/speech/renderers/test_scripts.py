"""Text in every script: joined correctly, broken only where a line may break, never wider than the screen."""

import re
import unicodedata
from itertools import pairwise

import pysubs2
import pytest
import regex
import wcwidth
import webvtt

from stenopool.options import SubtitleOptions
from stenopool.speech.renderers import render
from stenopool.speech.renderers.breaking import direction, embed, reading_speed, width
from stenopool.speech.renderers.subtitles import GAP, LONGEST_SHOWN, SHORTEST_SHOWN
from stenopool.speech.transcript import Segment, Transcript, Word
from tests.speech.renderers.samples import spoken
from tests.speech.renderers.subtitles import Shown, parse_srt, parse_vtt

TEXTS = {
    "zh": "她说：「你好，世界！」然后（很快地）走了……这是一个测试，我们在2026年用Python写的。广州市的天气非常好。",
    "yue": "我哋今日去咗茶樓飲茶，點心好好食㗎！「係咪呀？」佢問。跟住我哋就返屋企。",
    "ja": "今日はいい天気ですね。「ちょっと待って！」と彼女は言った、ラーメンを食べました。東京へ行きましょう。",
    "ko": "오늘은 날씨가 정말 좋습니다. 우리는 공원에 가서 산책을 하고 점심을 먹을 것입니다. 그렇지 않습니까?",
    "th": "สวัสดีชาวโลกวันนี้อากาศดีมากเราไปเที่ยวเกาะแก้วและกินน้ำแข็งด้วยกัน ประเทศไทยมีภูเขาและทะเลที่สวยงามมากๆ",
    "lo": "ສະບາຍດີຊາວໂລກມື້ນີ້ອາກາດດີຫຼາຍພວກເຮົາໄປຫຼິ້ນນໍ້າຕົກແລະກິນເຂົ້າໜຽວນຳກັນຢູ່ແຄມແມ່ນ້ຳຂອງ",
    "km": "ភាសាខ្មែរជាភាសាផ្លូវការរបស់ប្រទេសកម្ពុជា។ថ្ងៃនេះអាកាសធាតុល្អណាស់យើងទៅលេងនៅមាត់ទន្លេជាមួយគ្នា។",
    "my": "မြန်မာဘာသာစကားသည်တက္ကသိုလ်တွင်သင်ကြားသည်။ယနေ့ရာသီဥတုအလွန်ကောင်းသည်၊ကျွန်တော်တို့လမ်းလျှောက်ကြမည်။",
    "bo": "བོད་ཡིག་ནི་བོད་མིའི་སྐད་ཡིག་ཡིན། དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག ང་ཚོ་ལྷ་སར་འགྲོ་གི་ཡིན།",
    "hi": "नमस्ते दुनिया, आज मौसम बहुत अच्छा है। क्षत्रिय लोग स्त्रियों के साथ विद्यालय में पढ़ते हैं और प्रार्थना करते हैं।",
    "ta": "வணக்கம் உலகம், இன்று வானிலை நன்றாக உள்ளது. நாங்கள் கடற்கரைக்குச் செல்கிறோம், ஸ்ரீநிவாசன் வருகிறார்.",
    "ar": "مرحبًا بالعالم، اليوم الطقس جميل جدًّا. ذهبنا إلى السوق (القديم) واشترينا الخبز والزيتون، ثم عدنا إلى البيت!",
    "ur": "السلام علیکم، آج موسم بہت اچھا ہے۔ ہم بازار گئے اور پھل خریدے، پھر گھر آئے اور چائے پی۔ کیا آپ آئیں گے؟",
    "he": "שָׁלוֹם עולם, היום מזג האוויר נפלא. הלכנו לשוק (הישן) וקנינו לחם וזיתים, ואחר כך חזרנו הביתה!",
    "fr": "Bonjour ! Comment allez-vous ? « Très bien », dit-elle : le temps est beau ; nous irons au marché !",
    "es": "¿Qué tal? ¡Hola! Hoy hace muy buen tiempo (según dicen); iremos al mercado, ¿verdad? Después no.",
    "emoji": "Great 👩‍👩‍👧‍👦👍🏽 news 🇩🇪🇫🇷 everyone ❤️❤️, cafe\u0301, nai\u0308ve texts and nothing more 🎉.",
    "loop": "a" + "h" * 150 + " " + "!" * 120 + " https://example.com/" + "path/" * 20,
    "full-width": "ＡＢＣ１２３、（全角）「文字」ｶﾀｶﾅﾃｽﾄﾊﾟﾊﾞ。" * 3,
}  # fmt: skip
WIDE = {"zh", "yue", "ja", "ko", "full-width"}
# Characters that must not start a line, and those that must not end one.
CLOSING = "、。，．：；？！）］｝」』】〉》〕…ー々ゃゅょっャュョッ,.;:?!)]}»”’؟،؛۔।။၊។ๆฯะาำ་།"
OPENING = "（［｛「『【〈《〔([{«“¿¡เแโใไເແໂໃໄ"


def _fragments(text: str) -> list[str]:
    """The text cut as Whisper's tokens may be for scripts without word boundaries, even within a cluster."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def _segment(text: str, form: str, pace: float = 0.09) -> Segment:
    """The text spoken at this pace per character, in the forms in which engines return it."""
    parts = {
        "words": re.findall(r"\s*\S+", text),
        "words without blanks": text.split(),
        "fragments": _fragments(text),
        "text alone": [],
    }[form]
    words, clock = [], 0.0
    for part in parts:
        words.append(Word(word=part, start=clock, end=clock + pace * len(part)))
        clock += pace * len(part)
    return Segment(start=0, end=pace * len(text), text=text, words=words)


def _plain(line: str) -> str:
    return re.sub("[\u202a-\u202c]", "", line)


def _shown(text: str, form: str, **style: object) -> list[Shown]:
    transcript = Transcript(segments=[_segment(text, form)])
    written = SubtitleOptions.model_validate(style)
    srt, vtt = parse_srt(render(transcript, "srt", written)), parse_vtt(render(transcript, "vtt", written))
    assert [cue.lines for cue in srt] == [cue.lines for cue in vtt]
    return [cue._replace(lines=[_plain(line) for line in cue.lines]) for cue in vtt]


@pytest.mark.parametrize("form", ["words", "words without blanks", "fragments", "text alone"])
@pytest.mark.parametrize("script", TEXTS)
class TestLines:
    @pytest.mark.parametrize("line_width", [None, 16])
    def test_no_line_is_wider_than_the_screen(self, script: str, form: str, line_width: int | None) -> None:
        # A narrow line may contain one longer word; scripts without blanks, and other long strings, are cut.
        longest_word = max((width(word) for word in TEXTS[script].split()), default=0) if script != "loop" else 42
        for cue in _shown(TEXTS[script], form, max_line_width=line_width):
            for line in cue.lines:
                most = line_width or (32 if script in WIDE else 42)
                alone = " " not in line and line_width is not None and wcwidth.width(line) <= longest_word
                cut = script in ("zh", "yue", "ja", "th", "lo", "km", "my", "bo", "full-width")
                assert wcwidth.width(line) <= most or (alone and not cut), line

    def test_lines_break_only_where_their_script_allows(self, script: str, form: str) -> None:
        for width_ in (None, 20):
            lines = [line for cue in _shown(TEXTS[script], form, max_line_width=width_) for line in cue.lines]
            assert len(lines) > 1
            for line in lines:
                assert line[0] not in CLOSING or set(line) == {line[0]} or script == "loop", line
                assert line[-1] not in OPENING, line
                assert unicodedata.category(line[0])[0] != "M", line

    def test_no_text_is_lost_and_no_cluster_is_cut(self, script: str, form: str) -> None:
        text = TEXTS[script]
        lines = [line for cue in _shown(text, form, max_line_width=12) for line in cue.lines]
        assert "".join("".join(lines).split()) == "".join(text.split())
        cuts, at, squeezed = set(), 0, "".join(text.split())
        for cluster in regex.findall(r"\X", squeezed):
            cuts.add(at)
            at += len(cluster)
        at = 0
        for line in lines:
            assert at in cuts, line
            at += len("".join(line.split()))

    def test_blanks_are_those_of_the_text(self, script: str, form: str) -> None:
        text = TEXTS[script]
        transcript = Transcript(segments=[_segment(text, form)])
        assert render(transcript, "txt") == text + "\n"
        assert render(transcript, "tsv").splitlines()[1].split("\t")[2] == text

    def test_cues_have_gaps_and_a_maximum_length(self, script: str, form: str) -> None:
        cues = _shown(TEXTS[script], form)
        for before, after in pairwise(cues):
            assert after.start - before.end >= round(GAP * 1000)
        for cue in cues:
            assert cue.end - cue.start <= LONGEST_SHOWN * 1000 + 1


@pytest.mark.parametrize("script", TEXTS)
def test_other_readers_read_the_same_cues(script: str) -> None:
    transcript = Transcript(segments=[_segment(TEXTS[script], "words")])
    cues = parse_vtt(render(transcript, "vtt"))
    srt = pysubs2.SSAFile.from_string(render(transcript, "srt"), format_="srt")
    vtt = webvtt.from_string(render(transcript, "vtt"))
    assert [(event.start, event.end, event.plaintext.split("\n")) for event in srt] == [tuple(cue) for cue in cues]
    assert [caption.text.split("\n") for caption in vtt] == [cue.lines for cue in cues]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("你好", 4),
        ("한글", 4),
        ("한", 2),
        ("ｱﾊﾟ", 3),
        ("cafe\u0301", 4),
        ("👩‍👩‍👧", 2),
        ("🇩🇪", 2),
        ("👍🏽", 2),
        ("❤️", 2),
        ("שָׁלוֹם", 4),
        ("สวัสดี", 4),
    ],
)
def test_columns_are_counted_by_display_width(text: str, columns: int) -> None:
    assert width(text) == columns


class TestReadingSpeed:
    @pytest.mark.parametrize(
        ("text", "speed"),
        [("Hi", 20), ("你好，世界", 11), ("こんにちは世界", 7), ("안녕하세요", 14), ("สวัสดี", 20), ("مرحبا", 20)],
    )
    def test_each_script_has_its_reading_speed(self, text: str, speed: int) -> None:
        assert reading_speed(text) == speed

    def test_a_fast_cue_is_extended_into_the_pause(self) -> None:
        segments = [spoken("Forty characters that were said too fast.", pace=0.1), spoken("Well.", 8, pace=2)]
        first, _ = parse_vtt(render(Transcript(segments=segments), "vtt"))
        assert first.end - first.start == round(41 / 20 * 1000)

    def test_a_short_word_is_shown_for_the_minimum_time(self) -> None:
        first, _ = parse_vtt(render(Transcript(segments=[spoken("Yes.", pace=0.2), spoken("No.", 5)]), "vtt"))
        assert first.end == round(SHORTEST_SHOWN * 1000)

    def test_short_sentences_that_follow_each_other_share_a_cue(self) -> None:
        segments = [spoken("Yes.", pace=0.2), spoken("I see.", 0.2, pace=0.15), spoken("Good morning to you.", 0.5)]
        (cue,) = parse_vtt(render(Transcript(segments=segments), "vtt"))
        assert cue.lines == ["Yes. I see. Good morning to you."]

    def test_the_next_speaker_waits_briefly_if_time_allows(self) -> None:
        segments = [spoken("Yes.", pace=0.3, speaker="A"), spoken("We all know that.", 0.3, pace=0.7, speaker="B")]
        first, second = parse_vtt(render(Transcript(segments=segments), "vtt"))
        assert (first.end, second.start) == (833, 916)

    def test_no_cue_is_longer_than_seven_seconds(self) -> None:
        """80 Chinese characters over 19.75 s were one cue of two lines of 80 columns."""
        text = "今天我们讨论城市交通和公共安全的问题" * 5
        words = [Word(word=each, start=n * 0.25, end=n * 0.25 + 0.25) for n, each in enumerate(text[:80])]
        cues = parse_vtt(render(Transcript(segments=[Segment(start=0, end=20, text=text[:80], words=words)]), "vtt"))
        assert max(cue.end - cue.start for cue in cues) <= 7000
        assert max(wcwidth.width(line) for cue in cues for line in cue.lines) <= 32

    def test_a_word_after_a_pause_is_shown_when_it_is_spoken(self) -> None:
        segment = spoken("End of chapter. Good morning.")
        segment.words[3].start, segment.words[3].end = 1.5, 10.0
        segment.words[4].start, segment.words[4].end = 10.0, 10.5
        first, second = parse_vtt(render(Transcript(segments=[segment]), "vtt"))
        assert (first.lines, second.lines) == (["End of chapter."], ["Good morning."])
        assert second.start == 9000


class TestSeveralSpeakers:
    def _call(self) -> Transcript:
        """Two channels; the customer says yes while the agent speaks."""
        agent = spoken("I will send the parcel again tomorrow and you will have it on Monday.", pace=0.4, channel=0)
        customer = [spoken("Yes.", 1.5, channel=1), spoken("Thank you very much.", 4, channel=1)]
        for segment, name in ((agent, "agent"), *((each, "customer") for each in customer)):
            segment.speaker = name
        return Transcript(segments=[agent, *customer])

    def test_cues_of_two_channels_do_not_overlap(self) -> None:
        cues = parse_vtt(render(self._call(), "vtt"))
        assert all(after.start >= before.end for before, after in pairwise(cues))
        assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
        # A cue ends when the other person starts to speak, so all are shown at about the time of the speech.
        spoken_at = {"Yes.": 1500, "Thank you very much.": 4000}
        for cue in cues:
            assert abs(cue.start - spoken_at.get(" ".join(cue.lines), cue.start)) <= 900
        assert min(cue.end - cue.start for cue in cues) >= 450

    def test_simultaneous_speech_shares_the_time(self) -> None:
        """Regression: the first of two cues had only the time before the second started, almost none."""
        segments = [
            spoken("He began a confused complaint against the wizard,", pace=0.3, speaker="A", channel=0),
            spoken("The horizon seems extremely distant.", pace=0.45, speaker="B", channel=1),
            spoken("who had vanished.", 2.7, speaker="A", channel=0),
        ]
        first, second, _ = parse_vtt(render(Transcript(segments=segments), "vtt"))
        speeds = [1000 * len(" ".join(cue.lines)) / (cue.end - cue.start) for cue in (first, second)]
        assert max(speeds) < 40

    def test_cues_of_two_channels_overlap_on_request(self) -> None:
        cues = parse_vtt(render(self._call(), "vtt", SubtitleOptions(overlapping_cues=True)))
        assert any(after.start < before.end for before, after in pairwise(cues))
        assert (1500, "Yes.") in [(cue.start, " ".join(cue.lines)) for cue in cues]

    def test_a_label_is_shown_where_the_speaker_changes_and_does_not_count_for_reading_speed(self) -> None:
        names = ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
        said = ["One sentence here.", "Another one here.", "Mine is this here.", "And so it is now."]
        segments = [spoken(text, 3.0 * n, speaker=name) for n, (text, name) in enumerate(zip(said, names, strict=True))]
        cues = parse_srt(render(Transcript(segments=segments), "srt"))
        labels = [re.findall(r"^\[(.*)\]: ", cue.lines[0]) for cue in cues]
        assert labels == [["SPEAKER_00"], [], ["SPEAKER_01"], ["SPEAKER_00"]]
        unlabelled = [segment.model_copy(update={"speaker": None}) for segment in segments]
        times = [cue[:2] for cue in parse_srt(render(Transcript(segments=unlabelled), "srt"))]
        assert [cue[:2] for cue in cues] == times
        assert render(Transcript(segments=segments), "vtt").count("<v ") == 4

    def test_an_unknown_speaker_is_not_taken_for_the_previous_one(self) -> None:
        segments = [spoken("Hello.", speaker="A"), spoken("Okay.", 3), spoken("Bye.", 6, speaker="A")]
        cues = parse_srt(render(Transcript(segments=segments), "srt"))
        assert [cue.lines for cue in cues] == [["[A]: Hello."], ["[UNKNOWN]: Okay."], ["[A]: Bye."]]
        assert "[" not in render(Transcript(segments=segments[1:2]), "srt")


class TestDirection:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Hi", "ltr"),
            ("مرحبا", "rtl"),
            ("שלום", "rtl"),
            ("OpenAI هي شركة كبيرة جدا", "rtl"),
            ("שלום is a word", "ltr"),
        ],
    )
    def test_the_direction_is_that_of_the_text_not_of_its_first_word(self, text: str, expected: str) -> None:
        assert direction(text) == expected

    def test_only_lines_with_right_to_left_letters_are_marked(self) -> None:
        assert embed("Hello.", "ltr") == "Hello."
        assert embed("مرحبا.", "rtl") == "\u202bمرحبا.\u202c"
        assert embed("שלום is a word.", "ltr") == "\u202aשלום is a word.\u202c"

    @pytest.mark.parametrize("script", ["ar", "ur", "he"])
    def test_each_line_of_a_cue_is_marked(self, script: str) -> None:
        transcript = Transcript(segments=[_segment(TEXTS[script], "words").model_copy(update={"speaker": "Ann"})])
        for format in ("srt", "vtt"):
            text = render(transcript, format)
            lines = [re.sub("^<v Ann>", "", line) for line in text.splitlines() if direction(line) == "rtl"]
            assert len(lines) > 2
            assert all(line.startswith("\u202b") and line.endswith("\u202c") for line in lines)
        assert "\u202b[Ann]: " in render(transcript, "srt")
        assert "<v Ann>\u202b" in render(transcript, "vtt")
        assert not re.search("[\u202a-\u202e]", render(transcript, "txt") + render(transcript, "tsv"))
