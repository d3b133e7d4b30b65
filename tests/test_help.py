"""`lrbench --help` is whole and readable, every command explains itself, and the shell completes all of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lrbench
from lrbench.cli import COMMANDS, main
from lrbench.cli.help import page
from lrbench.config import CONFIG_DIR
from lrbench.config.schema import TrainingConfig
from lrbench.runs.compose import compose_plans
from lrbench.runs.words import settled

REPO = Path(__file__).resolve().parent.parent


def test_the_page_names_every_command_group_file_and_value():
    text = page(COMMANDS, width=100)
    words = text.replace(",", " ").split()
    for path in CONFIG_DIR.rglob("*/*.yaml"):
        group, name = path.relative_to(CONFIG_DIR).with_suffix("").parts[-2:]
        assert name in words or f"{group}/{name}" in words, path
    config = yaml.safe_load((CONFIG_DIR / "config.yaml").read_text())
    for key in [*COMMANDS, *TrainingConfig.__dataclass_fields__, *(set(config) - {"defaults", "hydra"})]:
        assert key in text, key
    assert "_target_:" not in text


def test_the_default_of_a_group_stands_first():
    lines = [line.split() for line in page(COMMANDS, width=1000).splitlines()]
    first = {line[0]: line[1].rstrip(",") for line in lines if len(line) > 1}
    defaults = {"scheduler": "cosine", "optimizer": "sgd", "model": "mlp", "dataset": "digits", "warmup": "none"}
    assert {group: first[group] for group in defaults} == defaults


@pytest.mark.parametrize("width", [80, 120])
def test_names_are_wrapped_to_the_terminal(width):
    text = page(COMMANDS, width=width)
    assert max(map(len, text.partition("Commands")[2].partition("Values")[0].splitlines())) <= width


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"], ["scheduler=step", "--help"]])
def test_help_of_the_whole(capsys, words):
    assert main(words) == 0
    assert "Commands\n  run " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["scheduler", "model", "dataset", "workload"])
def test_list_has_a_line_for_every_file_of_a_group(capsys, kind):
    assert main(["list", f"{kind}s"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    folder = CONFIG_DIR / kind
    assert set(lines) == {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    for name, said in lines.items():
        written = yaml.safe_load((folder / f"{name}.yaml").read_text())
        assert (
            said == written["purpose"] if kind != "workload" else f"# {said}\n" in (folder / f"{name}.yaml").read_text()
        )
    assert main(["list", f"{kind}s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == lines


@pytest.mark.parametrize(("words", "said"), [([], "got nothing"), (["modles"], "did you mean models?")])
def test_list_says_what_it_takes(capsys, words, said):
    assert main(["list", *words]) == 1
    err = capsys.readouterr().err
    assert "one of schedulers, models, datasets, workloads" in err
    assert said in err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "run"])
def test_every_command_explains_itself(capsys, command):
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"`lrbench {command}")
    assert not said.isspace()


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lrbench {lrbench.__version__}\n"


COMPLETE = """
eval "$(lrbench -sc install=bash)"
COMP_LINE="$1" COMP_POINT=${#1}
COMP_WORDS=($COMP_LINE)
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
hydra_bash_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash offers after a line, by the function that `lrbench -sc install=bash` defines."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "lrbench"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom lrbench.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)

    def offered(line):
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", line],
            cwd=folder,
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return done.stdout.split()

    return offered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lrbench prev", ["preview"]),
        ("lrbench scheduler=one", ["scheduler=one_cycle"]),
        ("lrbench scheduler=wsd scheduler.decay", ["scheduler.decay_fraction="]),
        ("lrbench preview scheduler=one", ["scheduler=one_cycle"]),
        ("lrbench -m model=len", ["model=lenet"]),
        ("lrbench range-test optimizer=adamw optimizer.wei", ["optimizer.weight_decay="]),
    ],
)
def test_bash_completes_commands_groups_and_values(complete, line, expected):
    assert complete(line) == expected


@pytest.mark.slow
def test_bash_offers_every_command_at_the_first_word(complete):
    assert set(COMMANDS) < set(complete("lrbench "))


@pytest.mark.slow
def test_a_command_without_overrides_offers_none(complete):
    assert not [word for word in complete("lrbench report ") if "=" in word]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr=0.1"], "no key 'lr'; did you mean optimizer.lr?"),
        (["epochs=5"], "no key 'epochs'; did you mean budget.epochs?"),
        (["reprot"], "no command 'reprot'; did you mean report? There are: run, list"),
    ],
)
def test_a_near_miss_is_told_what_was_meant(words, said, capsys):
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert "Error executing job" not in printed


def test_one_length_takes_the_place_of_the_other(caplog):
    assert settled(["budget.steps=100"]) == ["budget.steps=100", "budget.epochs=null"]
    assert settled(["-m", "budget.epochs=1,2"])[-1] == "budget.steps=null"
    both = ["budget.steps=100", "budget.epochs=3"]
    assert settled(both) == both
    assert settled(["budget=steps", "budget.steps=9"]) == ["budget=steps", "budget.steps=9"]
    (plan,) = compose_plans(["budget.steps=7"])
    assert plan.budget.total_steps == 7


def test_a_key_that_is_given_twice_is_said(caplog):
    assert settled(["seed=0", "seed=1"]) == ["seed=0", "seed=1"]
    assert "seed is given 2 times; the last counts: seed=1" in caplog.text
