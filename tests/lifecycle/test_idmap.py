# SPDX-License-Identifier: Apache-2.0
"""Id-mapped mounts: `idmap`, `ridmap`, and a mount's own uidMappings and gidMappings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .configs import Config, bind, mount, namespace, with_user_namespace
from .harness import Container
from .test_mounts import host_mount

pytestmark = [
    pytest.mark.needs_user_namespaces,
    pytest.mark.differs(runc="1.1.5 knows no id-mapped mounts"),
]

OWNERS = "stat -c '%u:%g' /data/file"


def ids(container: int, host: int, size: int = 65536) -> list[Config]:
    return [{"containerID": container, "hostID": host, "size": size}]


def mapped(entry: Config, uids: list[Config], gids: list[Config] | None = None) -> Config:
    return {**entry, "uidMappings": uids, "gidMappings": uids if gids is None else gids}


@pytest.fixture
def volume(container: Container) -> Path:
    """A directory of the host with a file of root's, one of another user's, and a place for a mount."""
    path = container.scratch / "volume"
    (path / "sub").mkdir(parents=True)
    for name, uid, gid in (("file", 0, 0), ("theirs", 7, 8)):
        (path / name).write_text(name)
        os.chown(path / name, uid, gid)
    return path


def test_a_mount_with_maps_of_its_own(container: Container, volume: Path) -> None:
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 1000), ids(0, 2000)))
    seen = container.sh("stat -c '%u:%g' /data/file /data/theirs; ! touch /data/new 2>/dev/null")
    assert seen.split() == ["1000:2000", "1007:2008"]  # and nobody in the map is the container's root


def test_the_option_may_be_left_out(container: Container, volume: Path) -> None:
    """The maps alone are enough; the option is there so that a runtime which knows neither refuses the mount."""
    container.mounts.append(mapped(bind(volume, "/data", "bind"), ids(0, 1000)))
    assert container.sh(OWNERS) == "1000:1000\n"


def test_what_is_written_belongs_to_the_source_of_the_map(container: Container, volume: Path) -> None:
    volume.chmod(0o777)
    container.process["user"] = {"uid": 1005, "gid": 1006}
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 1000)))
    container.sh("touch /data/new")
    status = (volume / "new").stat()
    assert (status.st_uid, status.st_gid) == (5, 6)


def test_ids_without_a_line_in_the_map_are_nobodys(container: Container, volume: Path) -> None:
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 1000, 5)))
    assert container.sh("stat -c '%u:%g' /data/file /data/theirs").split() == ["1000:1000", "65534:65534"]


def test_several_lines_of_a_map(container: Container, volume: Path) -> None:
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), [*ids(0, 1000, 1), *ids(7, 3000, 2)]))
    assert container.sh("stat -c '%u:%g' /data/file /data/theirs").split() == ["1000:1000", "3000:3001"]


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_the_maps_of_the_containers_user_namespace(container: Container, volume: Path, option: str) -> None:
    """What belongs to root on the host belongs to the container's root."""
    with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    container.mounts.append(bind(volume, "/data", "rbind", option))
    seen = container.sh("stat -c '%u:%g' /data/file /data/theirs; touch /data/new")
    assert seen.split() == ["0:0", "7:8"]
    assert (volume / "new").stat().st_uid == 0


def test_other_maps_than_those_of_the_containers_user_namespace(container: Container, volume: Path) -> None:
    with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 100_005, 100)))
    assert container.sh("stat -c '%u:%g' /data/file /data/theirs").split() == ["5:5", "12:13"]


def test_the_user_namespace_of_another_container(
    containers: Callable[[], Container], container: Container, volume: Path
) -> None:
    owner = containers()
    with_user_namespace(owner.config)
    owner.launch()
    with_user_namespace(container.config)
    user = namespace(container.config, "user")
    assert user is not None
    user["path"] = f"/proc/{owner.pid}/ns/user"
    del container.linux["uidMappings"], container.linux["gidMappings"]
    (container.rootfs / "data").mkdir()
    container.mounts.append(bind(volume, "/data", "bind", "idmap"))
    assert container.sh(OWNERS) == "0:0\n"


@pytest.mark.parametrize(
    ("option", "below"),
    [("idmap", "0:0"), pytest.param("ridmap", "1000:1000", marks=pytest.mark.needs_mapped_tmpfs)],
)
def test_only_ridmap_reaches_submounts(container: Container, volume: Path, option: str, below: str) -> None:
    with host_mount(volume / "sub"):
        (volume / "sub" / "file").write_text("")
        container.mounts.append(mapped(bind(volume, "/data", "rbind", option), ids(0, 1000)))
        assert container.sh("stat -c '%u:%g' /data/file /data/sub/file").split() == ["1000:1000", below]


def test_several_mounts_with_different_maps(container: Container, volume: Path) -> None:
    for number in range(1, 4):
        entry = bind(volume, f"/data{number % 3}", "bind", "idmap", "ro")
        container.mounts.append(mapped(entry, ids(0, 1000 * number)))
    container.mounts.append(mapped(bind(volume, "/data0", "bind", "idmap"), ids(0, 5000)))
    assert container.sh("stat -c %u /data1/file /data2/file /data0/file").split() == ["1000", "2000", "5000"]


def test_a_file_with_flags(container: Container, volume: Path) -> None:
    entry = bind(volume / "theirs", "/etc/theirs", "bind", "idmap", "ro", "noexec", "rprivate")
    container.mounts.append(mapped(entry, ids(0, 1000)))
    assert container.sh("stat -c '%u:%g' /etc/theirs; ! touch /etc/theirs 2>/dev/null") == "1007:1008\n"


@pytest.mark.needs_mapped_tmpfs
def test_a_new_file_system(container: Container) -> None:
    entry = mount("/scratch", "tmpfs", "tmpfs", "idmap", "mode=755", "uid=3", "gid=4")
    container.mounts.append(mapped(entry, ids(0, 1000)))
    assert container.output("stat", "-c", "%u:%g", "/scratch") == "1003:1004\n"


def test_the_hosts_own_view_stays(container: Container, volume: Path) -> None:
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 1000)))
    container.launch()
    assert (volume / "file").stat().st_uid == 0
    assert "idmapped" in container.exec("grep", " /data ", "/proc/self/mountinfo").ok().out


# What cannot be


def test_no_map_at_all(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/data", "bind", "idmap"))
    container.create().refused("id map")
    container.leaves_nothing()


@pytest.mark.parametrize("left", ["uidMappings", "gidMappings"])
def test_half_a_map(container: Container, volume: Path, left: str) -> None:
    entry = mapped(bind(volume, "/data", "bind", "idmap"), ids(0, 1000))
    del entry[left]
    container.mounts.append(entry)
    container.create().refused(left)
    container.leaves_nothing()


def test_a_file_system_that_cannot_be_mapped(container: Container) -> None:
    container.mounts.append(mapped(bind("/proc", "/host", "bind", "idmap"), ids(0, 1000)))
    container.create().refused("/proc", "id mappings")
    container.leaves_nothing()


def test_a_map_that_overlaps_itself(container: Container, volume: Path) -> None:
    container.mounts.append(mapped(bind(volume, "/data", "bind", "idmap"), [*ids(0, 1000), *ids(5, 9000)]))
    container.create().refused("/uidMappings", "overlaps")
    container.leaves_nothing()
