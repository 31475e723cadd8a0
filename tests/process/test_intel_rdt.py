# SPDX-License-Identifier: Apache-2.0
"""Classes of service, made in a directory that behaves as resctrl does where it matters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyoci.errors import PyociError
from pyoci.kernel import basic as k
from pyoci.plan.intel_rdt import plan_intel_rdt
from pyoci.process import intel_rdt


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new directory has its files from the start, and is removed with them."""
    make_alone = k.mkdir

    def mkdir(path: str, mode: int) -> None:
        make_alone(path, mode)
        fill(Path(path))

    def rmdir(path: str) -> None:
        Path(path).stat()
        shutil.rmtree(path)

    def fill(group: Path) -> None:
        (group / "tasks").write_text("")
        if group.parent.name != "mon_groups":
            (group / "schemata").write_text("    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n")
            (group / "mon_groups").mkdir()

    fill(tmp_path)
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "last_cmd_status").write_text("ok\n")
    monkeypatch.setattr(k, "mkdir", mkdir)
    monkeypatch.setattr(k, "rmdir", rmdir)
    return tmp_path


def make(resctrl: Path, **rdt: object) -> bool:
    return intel_rdt.make(plan_intel_rdt(rdt, "web", str(resctrl)))


def test_a_group_of_the_containers_own(resctrl: Path) -> None:
    assert make(resctrl, l3CacheSchema="L3:0=f", schemata=["MB:1=20"])
    assert (resctrl / "web" / "schemata").read_text().startswith("L3:0=f\nMB:1=20\n")


def test_one_that_was_there_is_not_ours_to_remove(resctrl: Path) -> None:
    k.mkdir(f"{resctrl}/web", 0o755)
    assert not make(resctrl)


def test_nothing_is_written_where_nothing_is_asked_for(resctrl: Path) -> None:
    before = (resctrl / "schemata").read_text()
    make(resctrl, closID="/")
    make(resctrl)
    assert (resctrl / "schemata").read_text() == (resctrl / "web" / "schemata").read_text() == before


def test_a_named_group_is_made_but_never_ours_to_remove(resctrl: Path) -> None:
    assert not make(resctrl, closID="gold", memBwSchema="MB:0=20")
    assert (resctrl / "gold" / "schemata").read_text().startswith("MB:0=20\n")


def test_a_named_group_without_a_schema_must_be_there(resctrl: Path) -> None:
    with pytest.raises(PyociError, match="no class of service"):
        make(resctrl, closID="gold")
    assert not (resctrl / "gold").exists()


@pytest.mark.parametrize("schema", ["L3:0=7ff;1=7ff", "L3:1=07FF", "L3: 0=7ff"])
def test_a_named_group_that_is_as_the_config_has_it(resctrl: Path, schema: str) -> None:
    k.mkdir(f"{resctrl}/gold", 0o755)
    make(resctrl, closID="gold", l3CacheSchema=schema, memBwSchema="MB:0=100")


@pytest.mark.parametrize("schema", ["L3:0=7fe", "L3:2=7ff", "L2:0=7ff", "L3:0=nonsense"])
def test_a_named_group_that_is_not(resctrl: Path, schema: str) -> None:
    k.mkdir(f"{resctrl}/gold", 0o755)
    before = (resctrl / "gold" / "schemata").read_text()
    with pytest.raises(PyociError, match="is there already, and not as"):
        make(resctrl, closID="gold", l3CacheSchema=schema)
    assert (resctrl / "gold" / "schemata").read_text() == before


def test_bandwidth_is_decimal(resctrl: Path) -> None:
    k.mkdir(f"{resctrl}/gold", 0o755)
    with pytest.raises(PyociError):
        make(resctrl, closID="gold", memBwSchema="MB:0=64")


def refuse(*_: object) -> int:
    raise OSError(22, "Invalid argument")


class Schemata:
    """The kernel's end of a schemata file: what is written adds to what is in force, each domain once in a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values = {"L3": {"0": "7ff", "1": "7ff"}, "MB": {"0": "100"}}
        self.writes: list[str] = []
        monkeypatch.setattr(k, "write", self.take)
        monkeypatch.setattr(intel_rdt, "_read", lambda path: self.text() if path.endswith("schemata") else "ok")

    def text(self) -> str:
        return "".join(
            f"    {name}:{';'.join(f'{domain}={value}' for domain, value in domains.items())}\n"
            for name, domains in self.values.items()
        )

    def take(self, _: int, content: bytes) -> int:
        staged: dict[tuple[str, str], str] = {}
        for line in content.decode().splitlines():
            name, _, rest = line.strip().partition(":")
            for pair in rest.split(";"):
                domain, _, value = pair.partition("=")
                if (name, domain) in staged or value == "f1":
                    raise OSError(22, "Invalid argument")
                staged[name, domain] = value
        for (name, domain), value in staged.items():
            self.values[name][domain] = value
        self.writes.append(content.decode())
        return len(content)


def test_schemata_have_the_last_word(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Schemata(monkeypatch)
    make(resctrl, l3CacheSchema="L3:0=f;1=f", memBwSchema="MB:0=20", schemata=["L3:0=1f", "MB:0=30"])
    assert kernel.values == {"L3": {"0": "1f", "1": "f"}, "MB": {"0": "30"}}
    assert kernel.writes == ["L3:0=f;1=f\n", "MB:0=20\n", "L3:0=1f\n", "MB:0=30\n"]


def test_all_lines_or_none(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Schemata(monkeypatch)
    before = kernel.text()
    with pytest.raises(PyociError, match=r"write MB:0=f1 to .*schemata: invalid argument") as caught:
        intel_rdt.set_schemata(str(resctrl), ("L3:0=f", "MB:0=f1"))
    assert kernel.text() == before
    assert not hasattr(caught.value, "__notes__")


def test_what_cannot_be_put_back_is_told(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Schemata(monkeypatch)
    monkeypatch.setattr(kernel, "text", lambda: "L3:0=f1\n")
    with pytest.raises(PyociError) as caught:
        intel_rdt.set_schemata(str(resctrl), ("L3:0=f", "MB:0=f1"))
    note = f"undoing failed: write to {resctrl}/schemata what was in it: invalid argument"
    assert caught.value.__notes__ == [note]


@pytest.mark.parametrize("rdt", [{"closID": "gold"}, {}])
def test_a_group_that_could_not_be_set_up_is_taken_back(
    resctrl: Path, monkeypatch: pytest.MonkeyPatch, rdt: dict[str, str]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(PyociError, match=r"write L3:0=f1 to .*: invalid argument"):
        patch.setattr(k, "write", refuse)
        make(resctrl, **rdt, l3CacheSchema="L3:0=f1")
    assert not (resctrl / rdt.get("closID", "web")).exists()
    make(resctrl, **rdt, l3CacheSchema="L3:0=f")


def test_nor_one_without_the_monitoring_that_was_asked_for(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_directory = k.mkdir

    def mkdir(path: str, mode: int) -> None:
        if "mon_groups" in path:
            raise OSError(28, "No space left on device")
        make_directory(path, mode)

    monkeypatch.setattr(k, "mkdir", mkdir)
    with pytest.raises(PyociError, match="make the monitoring group"):
        make(resctrl, closID="gold", l3CacheSchema="L3:0=f", enableMonitoring=True)
    assert not (resctrl / "gold").exists()


def test_a_group_that_was_there_stays(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    k.mkdir(f"{resctrl}/gold", 0o755)
    monkeypatch.setattr(k, "write", refuse)
    with pytest.raises(PyociError, match="invalid argument"):
        make(resctrl, closID="gold", l3CacheSchema="L3:0=7ff")
    assert (resctrl / "gold").exists()


def test_a_group_that_cannot_be_taken_back(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "write", refuse)
    monkeypatch.setattr(k, "rmdir", refuse)
    with pytest.raises(PyociError) as caught:
        make(resctrl, closID="gold", l3CacheSchema="L3:0=f1")
    assert caught.value.__notes__ == [f"undoing failed: remove {resctrl}/gold: invalid argument"]


def test_processes_enter_the_class_and_the_monitoring_group(resctrl: Path) -> None:
    make(resctrl, enableMonitoring=True)
    intel_rdt.enter(77, f"{resctrl}/web", f"{resctrl}/web/mon_groups/web")
    assert (resctrl / "web/tasks").read_text() == (resctrl / "web/mon_groups/web/tasks").read_text() == "77"


def test_the_end(resctrl: Path) -> None:
    make(resctrl, closID="gold", memBwSchema="MB:0=20", enableMonitoring=True)
    for _ in range(2):  # a delete may be repeated
        intel_rdt.remove("", f"{resctrl}/gold/mon_groups/web")
    assert (resctrl / "gold").exists()
    assert not (resctrl / "gold/mon_groups/web").exists()
    intel_rdt.remove(f"{resctrl}/gold", "")
    assert not (resctrl / "gold").exists()


def test_the_kernels_own_words(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (resctrl / "info" / "last_cmd_status").write_text("Mask f1 has non-consecutive 1-bits\n")
    monkeypatch.setattr(k, "write", refuse)
    with pytest.raises(PyociError, match=r"invalid argument \(Mask f1 has non-consecutive 1-bits\)"):
        make(resctrl, schemata=["L3:0=f1"])


def test_no_more_groups(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def have_none(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(k, "mkdir", have_none)
    with pytest.raises(PyociError, match="no more groups"):
        make(resctrl)
