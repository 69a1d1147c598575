"""Names of a form's parts, as browsers, SDKs and mail libraries write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.api.part_names import UNNAMED, parse_disposition

# Who writes it so, the header after `form-data; name="file"`, and the name that is meant.
NAMES = [
    ("plain", b'; filename="a.wav"', "a.wav"),
    ("not quoted", b"; filename=a.wav", "a.wav"),
    ("quoted without an end", b'; filename="a.wav', "a.wav"),
    ("browsers, UTF-8", '; filename="Réunion №1.wav"'.encode(), "Réunion №1.wav"),
    ("browsers, a quotation mark", b'; filename="a %22b%22.wav"', 'a "b".wav'),
    ("curl, a quotation mark", b'; filename="a \\"b\\".wav"', 'a "b".wav'),
    ("a percent sign is one", b'; filename="100%20.wav"', "100%20.wav"),
    ("a semicolon in it", b'; filename="a; b.wav"', "a; b.wav"),
    ("Latin-1, as old SDKs", '; filename="Réunion.wav"'.encode("latin-1"), "Réunion.wav"),
    ("Windows: a path", b'; filename="C:\\fakepath\\a.wav"', "a.wav"),
    ("Windows: a share", b'; filename="\\\\server\\calls\\a.wav"', "a.wav"),
    ("requests with open(path): a path", b'; filename="/home/ann/calls/a.wav"', "a.wav"),
    ("a folder that is uploaded", b'; filename="calls/2026/a.wav"', "a.wav"),
    ("up and away", b'; filename="../../etc/a.wav"', "a.wav"),
    (".NET: RFC 2047, base64", b'; filename="=?utf-8?B?UsOpdW5pb24ud2F2?="', "Réunion.wav"),
    ("Java mail: RFC 2047, quoted-printable", b'; filename="=?ISO-8859-1?Q?R=E9union=20a.wav?="', "Réunion a.wav"),
    ("RFC 2047 in several words", b'; filename="=?utf-8?B?UsOp?= =?utf-8?B?dW5pb24ud2F2?="', "Réunion.wav"),
    ("RFC 2047 that is broken stays", b'; filename="=?nope?B?%%%?=.wav"', "=?nope?B?%%%?=.wav"),
    ("only filename*", b"; filename*=UTF-8''R%C3%A9union%20a.wav", "Réunion a.wav"),
    ("only filename*, Latin-1", b"; filename*=iso-8859-1'en'R%E9union.wav", "Réunion.wav"),
    ("both: filename* counts", b"; filename=\"Reunion.wav\"; filename*=UTF-8''R%C3%A9union.wav", "Réunion.wav"),
    ("both, the other way round", b"; filename*=UTF-8''R%C3%A9union.wav; filename=\"Reunion.wav\"", "Réunion.wav"),
    ("RFC 2231 in parts", b'; filename*0="calls of"; filename*1=" Monday.wav"', "calls of Monday.wav"),
    ("empty", b'; filename=""', UNNAMED),
    ("only blanks", b'; filename="  "', UNNAMED),
    ("a folder alone", b'; filename="calls/"', UNNAMED),
    ("no name at all", b"", UNNAMED),
    ("openai-node: a stream", b'; filename="unknown_file"', "unknown_file"),
    ("a browser's Blob", b'; filename="blob"', "blob"),
    ("curl: standard input", b'; filename="-"', "-"),
    ("upper case", b'; FILENAME="a.wav"', "a.wav"),
]


@pytest.mark.parametrize(("header", "name"), [case[1:] for case in NAMES], ids=[case[0] for case in NAMES])
def test_a_files_name_is_what_was_meant(header: bytes, name: str) -> None:
    assert parse_disposition(b'form-data; name="file"' + header) == ("file", name)


@pytest.mark.parametrize(
    "header", [b'form-data; name="language"', b"form-data; name=language", b'form-data;name="language"']
)
def test_a_field_is_not_a_file(header: bytes) -> None:
    assert parse_disposition(header) == ("language", None)


@given(st.binary(max_size=200))
def test_whatever_is_written_there_is_read_or_refused(header: bytes) -> None:
    try:
        found = parse_disposition(header)
    except ValueError:
        return
    assert found.filename is None or (found.filename and "/" not in found.filename and "\\" not in found.filename)


@given(
    st.lists(
        st.sampled_from(
            [b"filename", b"*", b"0", b"9" * 30, b"=", b"'", b'"', b";", b"=?", b"?B?", b"%", b"utf-8", b"\\"]
        )
    )
)
def test_nor_does_anything_that_looks_like_it_do_harm(parts: list[bytes]) -> None:
    test_whatever_is_written_there_is_read_or_refused.hypothesis.inner_test(b"form-data; " + b"".join(parts))  # type: ignore[attr-defined]
