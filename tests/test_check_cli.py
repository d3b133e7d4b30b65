"""`lrbench check`: what it prints, how it exits, what it loads."""

import json
import subprocess
import sys

import pytest

from lrbench.cli.check import fails, findings_of, main
from lrbench.lint import Finding
from lrbench.runs.compose import compose_plans

TORCH_FAMILIES = [
    "constant", "cosine", "cosine_restarts", "cyclic", "exponential", "linear", "multistep", "one_cycle", "plateau",
    "polynomial", "step",
]  # fmt: skip
T_MAX_500 = [
    "budget=steps", "budget.steps=1000", "scheduler=cosine", "~scheduler.min_ratio",
    "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR", "+scheduler.T_max=500",
]  # fmt: skip


@pytest.fixture(scope="module")
def defaults():
    plans = compose_plans([f"scheduler={','.join(TORCH_FAMILIES)}"])
    return {plan.values["scheduler"]["name"]: findings_of(plan) for plan in plans}


@pytest.mark.parametrize("name", TORCH_FAMILIES)
def test_the_defaults_of_every_torch_family_are_set_up_rightly(defaults, name):
    expected = [("momentum-overwritten", "note")] if name == "one_cycle" else []
    assert [(f.rule, f.severity) for f in defaults[name]] == expected


def test_a_finding_is_one_line_with_schedule_severity_rule_and_message(capsys):
    assert main(T_MAX_500) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    name, severity, rule, message = line.split("\t")
    assert (name, severity, rule) == ("cosine", "warning", "t-max")
    assert "scheduler.T_max=1000" in message
    assert printed.err == "lrbench: 1 schedule checked: 1 warning\n"


def test_json_is_one_object_with_every_finding_and_the_same_exit_code(tmp_path, capsys):
    assert main(["strict=true", "--json", *T_MAX_500]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schedules"], document["unread"]) == (["cosine"], [])
    (found,) = document["findings"]
    assert (found["schedule"], found["severity"], found["rule"], found["line"]) == ("cosine", "warning", "t-max", None)
    good = tmp_path / "good.py"
    good.write_text("x = 1\n")
    assert main(["--code", str(good), str(tmp_path / "absent.py"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "files": [str(good)], "findings": [], "unread": [str(tmp_path / "absent.py")],
    }  # fmt: skip


def test_strict_makes_a_warning_fail_and_a_note_pass(capsys):
    assert main(["strict=true", *T_MAX_500]) == 1
    assert main(["strict=false", *T_MAX_500]) == 0
    assert main(["strict=true", "scheduler=one_cycle"]) == 0
    assert "one_cycle\tnote\tmomentum-overwritten" in capsys.readouterr().out


def test_an_error_fails_and_the_other_schedules_are_still_checked(capsys):
    words = ["scheduler=one_cycle,cosine", "optimizer=schedule_free_sgd"]
    pytest.importorskip("schedulefree")
    assert main(words) == 1
    lines = [line.split("\t")[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["one_cycle", "error", "rates"],
        ["cosine", "warning", "schedule-free-decay"],
    ]


def test_the_real_prodigy_is_recognised():
    pytest.importorskip("prodigyopt")
    words = ["optimizer=prodigy", "scheduler=cosine", "warmup=linear", "optimizer.safeguard_warmup=false,true"]
    unsafe, safe = (findings_of(plan) for plan in compose_plans(words))
    assert [f.rule for f in unsafe] == ["prodigy-warmup"]
    assert safe == []


def test_combinations_are_told_apart_by_what_differs(capsys):
    main(["scheduler=one_cycle", "optimizer=sgd,adam", "optimizer.lr=0.1,0.2"])
    labels = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert labels == [
        "one_cycle optimizer=sgd optimizer.lr=0.1", "one_cycle optimizer=sgd optimizer.lr=0.2",
        "one_cycle optimizer=adam optimizer.lr=0.1", "one_cycle optimizer=adam optimizer.lr=0.2",
    ]  # fmt: skip


def test_nothing_found_prints_nothing_but_the_summary(capsys):
    assert main(["scheduler=cosine"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "lrbench: 1 schedule checked: nothing found\n"


@pytest.fixture
def bad_file(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(
        "for x in loader:\n    opt.zero_grad()\n    loss(x).backward()\n    scheduler.step()\n    opt.step()\n"
    )
    return path


def test_code_is_reported_as_path_line_severity_rule(bad_file, capsys):
    clean = bad_file.with_name("clean.py")
    clean.write_text("print('π')\n", encoding="utf-8")
    assert main(["--code", str(clean), str(bad_file)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{bad_file}:4: error: step-order: scheduler.step() comes before opt.step()")
    assert printed.err == "lrbench: 2 files checked: 1 error\n"
    assert main(["--code", str(clean)]) == 0


def test_a_warning_in_code_fails_only_when_strict(tmp_path):
    path = tmp_path / "train.py"
    loop = "for x in xs:\n    optimizer.zero_grad()\n    x.backward()\n    optimizer.step()\n"
    path.write_text(f"scheduler = StepLR(optimizer, 9)\n{loop}")
    assert main(["--code", str(path)]) == 0
    assert main(["--code", str(path), "strict=true"]) == 1


def test_wrong_words_and_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"takes config overrides, strict=true, --json or --code FILE..., got '--cod'"):
        main(["--cod", "x.py"])
    with pytest.raises(ValueError, match="takes the files to look at, got none"):
        main(["--code"])
    with pytest.raises(ValueError, match="strict must be true or false, got 'yes'"):
        main(["strict=yes"])


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_checked(bad_file, tmp_path, capsys):
    (tmp_path / "binary.py").write_bytes(b"x = '\x80\x81\xff'\n")
    (tmp_path / "broken.py").write_text("x = 1\nif x\n")
    (tmp_path / "clean.py").write_text("")
    names = ["absent.py", "binary.py", "broken.py", "clean.py"]
    assert main(["--code", *(str(tmp_path / name) for name in names)]) == 1
    said = capsys.readouterr()
    assert "absent.py" in said.err
    assert "binary.py: not text in the encoding it declares" in said.err
    assert "broken.py:2: not valid Python" in said.err
    assert said.err.endswith("1 file checked: nothing found\n")
    assert main(["--code", str(tmp_path / "broken.py"), str(bad_file)]) == 1
    assert capsys.readouterr().out.startswith(f"{bad_file}:4: error: step-order")


@pytest.mark.parametrize(("declared", "encoding"), [("", "utf-8-sig"), ("# -*- coding: latin-1 -*-\n", "latin-1")])
def test_python_is_read_in_the_encoding_it_declares(tmp_path, declared, encoding):
    path = tmp_path / "train.py"
    path.write_text(f"{declared}# r\u00e9sum\u00e9\nprint('\u00fc')\n", encoding=encoding)
    assert main(["--code", str(path)]) == 0


def test_the_code_cells_of_a_notebook_are_checked(tmp_path, capsys):
    """Magics are left out; a line of Python that begins with % is not one."""
    cells = [
        ("markdown", "if x"),
        ("code", "%pip install torch\nif x:\n    !ls\nhelp?\nfiles = !ls"),
        ("code", "%%bash\nls -l"),
        ("code", "%%time\nprint('%d'\n    % 3)"),
        ("code", "for x in loader:\n    opt.zero_grad()\n    f(x).backward()\n    scheduler.step()\n    opt.step()"),
    ]
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": t, "source": s.splitlines(True)} for t, s in cells]}))
    assert main(["--code", str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:cell 5, line 4: error: step-order")
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": ["x = 1\n", "if x"]}]}))
    assert main(["--code", str(path)]) == 1
    assert f"{path}:cell 1, line 2: not valid Python" in capsys.readouterr().err
    path.write_text("{}")
    assert main(["--code", str(path)]) == 1
    assert "not a notebook" in capsys.readouterr().err


def test_code_is_checked_without_torch_and_hydra(bad_file):
    program = (
        "import sys; from lrbench.cli.check import main; main(sys.argv[1:]);"
        "print([m for m in ('torch', 'hydra', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--code", str(bad_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_notes_and_warnings_stop_nothing_by_themselves():
    note, warning, error = (Finding("r", s, "m") for s in ("note", "warning", "error"))
    assert not fails([note, warning], strict=False)
    assert not fails([note], strict=True)
    assert fails([note, warning], strict=True)
    assert fails([error], strict=False)
