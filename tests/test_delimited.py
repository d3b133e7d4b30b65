"""Tables of text as people have them: every one reads to the right cells, or is refused with its row."""

import gzip

import pytest

from lrbench.delimited import plain_numbers, read_delimited


@pytest.fixture
def read(tmp_path):
    def read_content(content, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = read_delimited(path, **options)
        columns = table.columns | plain_numbers(table.columns)
        return {name: column.to_pylist() for name, column in columns.items()}, list(table.rows)

    return read_content


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa,b\n1,0.5\n",
        "a,b\n1,0.5\n".encode("utf-16"),
        "a\tb\n1\t0.5".encode("utf-16"),
        "a,b\n1,0.5\n".encode("utf-32"),
        b"a;b\r\n1;0.5\r\n",
        b"a|b\r1|0.5\r",
        b"a;b\n1;0,5\n",
        b"sep=;\na;b\n1;0,5\n",
        b"# written by hand\n\n# a,b,c\na,b\n# later\n1,0.5\n",
        b"a,b,\n1,0.5,\n,,\n\n",
        b" a ,b\n1,0.5\n",
        gzip.compress(b"a,b\n1,0.5\n", mtime=0),
    ],
)
def test_encodings_delimiters_comments_and_empty_rows_change_nothing(read, content):
    assert read(content)[0] == {"a": ["1"], "b": ["0.5"]}


def test_rows_have_the_numbers_that_an_editor_shows(read):
    assert read('# c\na,b\n1,"x\ny"\n\n3,z\n# c\n,\n4,\n') == (
        {"a": ["1", "3", "4"], "b": ["x\ny", "z", None]},
        [3, 6, 9],
    )
    assert read("1\t2\n3\t4\n", names=["h", "t"]) == ({"h": ["1", "3"], "t": ["2", "4"]}, [1, 2])


def test_latin_1_is_read_and_said(read):
    with pytest.warns(UserWarning, match=r"table.csv is not in UTF-8 \(line 2\), so it was read as Latin-1"):
        assert read("a,b\né,2\n".encode("latin-1"))[0] == {"a": ["é"], "b": ["2"]}


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1.234,5", "1.000"], ["1234.5", "1000"]),
        (["1,234.5", "0.25"], ["1234.5", "0.25"]),
        (["1,234,567"], ["1234567"]),
        (["1 234,5", "1\u202f234\u202f567"], ["1234.5", "1234567"]),
        (["1'234.5"], ["1234.5"]),
        (["85.2%", "0", "100 %"], ["0.852", "0", "1.0"]),
        (["85,2 %", "nan"], ["0.852", "nan"]),
        (["1,5E-3", "\u22120,5"], ["1.5E-3", "-0.5"]),
        (["0,512", "1,234"], ["0.512", "1.234"]),
        # Not to be told apart, or no numbers: they stay, and whoever needs numbers refuses them.
        (["1,234", "5"], ["1,234", "5"]),
        (["1,5", "low"], ["1,5", "low"]),
        (["85%", "85"], ["85%", "85"]),
        (["1,5", "0.5"], ["1,5", "0.5"]),
        (["12,34,5"], ["12,34,5"]),
    ],
)
def test_numbers_are_rewritten_as_python_writes_them(read, cells, numbers):
    assert read("a;b\n" + "".join(f"{cell};x\n" for cell in cells))[0]["a"] == numbers


def test_the_file_decides_what_a_comma_is(read):
    assert read("step;loss\n1.000;0,5\n2.000;0,4\n")[0] == {"step": ["1000", "2000"], "loss": ["0.5", "0.4"]}
    assert read('step,loss\n"1,000",0.5\n')[0] == {"step": ["1000"], "loss": ["0.5"]}
    # Two notations in one file: a list of layers is not a number.
    assert read("hidden;loss\n64,64;0.5\n")[0] == {"hidden": ["64,64"], "loss": ["0.5"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n", r"table.csv: row 3 has 1 cells, the first row 2: '3'"),
        ("a,b\n1,2\n\n3,4,5\n", r"row 4 has 3 cells, the first row 2: '3,4,5'"),
        ("lr\n0,1\n0,5\n", r"row 2 has 2 cells, the first row 1"),
        ('a,b\n1,"2\n3,4\n', r"the quotes of row 2 cannot be understood"),
        ('a,b\n1,2\n1,"2\n3,"4\n', r"the quotes of row 3 cannot be understood"),
        ("a,b,a\n1,2,3\n", r"several columns named \['a'\]"),
        ("a,a \n1,2\n", r"several columns named \['a'\]"),
        ("a,b\n\n", r"has no rows; its columns are \['a', 'b'\]"),
        ("", "has no rows"),
        (b"a,b\n\x81,\xff\n", r"is no text in UTF-8: line 2 has"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is no text: line 1 has a zero byte"),
        (b"\xff\xfea", "is no text in utf-16"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "is a damaged gzip file"),
    ],
)
def test_what_cannot_be_read_whole_is_refused_with_its_row(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)
