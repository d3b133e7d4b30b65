"""The files that describe a run: what is written is what is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lrbench.runs.record_of_run import write_yaml

TEXTS = [
    "",
    "1e3",
    "1e-3",
    "12",
    "0x10",
    "0o7",
    "1_000",
    "1:30",
    ".5",
    "true",
    "no",
    "null",
    "~",
    "nan",
    "inf",
    "- a",
    "a: b",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(TEXTS)


@given(values=st.dictionaries(st.sampled_from("abcdef"), SCALARS | st.lists(SCALARS, max_size=3), max_size=6))
def test_a_config_is_read_back_as_it_was(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("record") / "config.yaml"
    write_yaml(path, values)
    found = OmegaConf.to_container(OmegaConf.load(path))
    assert found == values
    assert repr(found) == repr(values)  # 1 is no 1.0, and no True


@pytest.mark.parametrize("text", TEXTS)
def test_texts_stay_texts_wherever_they_stand(text, tmp_path):
    write_yaml(tmp_path / "config.yaml", {"one": text, "many": [text, {"inner": text}]})
    expected = {"one": text, "many": [text, {"inner": text}]}
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml")) == expected
