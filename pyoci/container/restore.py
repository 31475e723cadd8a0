# SPDX-License-Identifier: Apache-2.0
"""restore: a container made of the bundle, as create does it, but for its processes, which criu brings back."""

from __future__ import annotations

from pyoci import jsontext
from pyoci import syscalls as k
from pyoci.container.create import Creation
from pyoci.container.handover import find_inherited
from pyoci.container.record import Container, hook_state
from pyoci.container.run import remove, stay
from pyoci.criu.images import Directories
from pyoci.criu.options import CONFIG_FILES, config_file
from pyoci.criu.restorer import Restorer
from pyoci.errors import SpecError, failed
from pyoci.foreground import Foreground
from pyoci.notify import INSIDE, make_directory
from pyoci.state import CRIU_ROOT, NOTIFY, UNFINISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.bundle import Bundle
    from pyoci.container.options import RestoreOptions
    from pyoci.container.record import Settings
    from pyoci.host import Host
    from pyoci.plan.model import Plan


def restore(settings: Settings, container_id: str, options: RestoreOptions) -> int:
    """Restore a container: 0 once it runs if detached, else the exit code of its init when that has ended.

    Raises SpecError, PyociError; then nothing is left.
    """
    inherited = find_inherited(0, settings.log.fd, 0)
    if options.detach:
        Restoration(settings, container_id, options, inherited, starts=True).create()
        return 0
    foreground = Foreground(settings.log.warning, subreaper=not options.no_subreaper)
    try:
        foreground.prepare()
        restoration = Restoration(settings, container_id, options, inherited, foreground=foreground, starts=True)
        restoration.create()
        container = Container(settings, container_id)
        try:
            if restoration.console >= 0:
                foreground.receive(restoration.console)
        except BaseException:
            remove(container)
            raise
        return stay(foreground, restoration, container)
    finally:
        foreground.close()


class Restoration(Creation):
    """One container being restored."""

    launcher: Restorer
    options: RestoreOptions

    def _make_launcher(self, plan: Plan, host: Host) -> Restorer:
        # Whether its program is ready it has said long ago, so that is not a mount of ours to make.
        mounts = tuple(mount for mount in plan.mounts if mount.destination != INSIDE)
        return Restorer(plan.replace(mounts=mounts), {}, hook_state(self.state), host.rootless)

    def _make(self, bundle: Bundle, plan: Plan, console: int) -> None:
        _check(plan)
        with Directories(self.options.criu, new=False) as directories:
            self._claim(_with_clocks(bundle), plan)
            self._restore(plan, directories, console)
        self._pass_on()

    def _restore(self, plan: Plan, directories: Directories, console: int) -> None:
        directory, restorer = self.directory, self.launcher
        directory.write(UNFINISHED, b"")
        root, notify = f"{directory.path}/{CRIU_ROOT}", f"{directory.path}/{NOTIFY}"
        make_directory(notify)  # if the container had its own when it was saved, it expects one
        try:
            k.mkdir(root, 0o755)
        except OSError as error:
            raise failed(f"make {root}", error) from None
        self._make_cgroups(plan)
        self._with_streams(plan, lambda: restorer.start(directories, root))
        self._save(plan.cgroup.paths if plan.cgroup.unit else restorer.paths)
        restorer.enter_cgroups()
        chosen = config_file(plan.annotations, [path for path in CONFIG_FILES if k.access(path, 0)])
        restorer.restore(self.options.criu, {INSIDE: notify}, chosen, console, lambda: self._save(restorer.paths))
        if console >= 0:
            k.close(console)
        for remove_one, path in ((k.rmdir, root), (k.unlink, f"{directory.path}/{UNFINISHED}")):
            try:
                remove_one(path)
            except OSError as error:
                raise failed(f"remove {path}", error) from None


def _with_clocks(bundle: Bundle) -> Bundle:
    """The bundle as exec is to find it: criu restores into a time namespace, for clocks that go on where they were."""
    linux = bundle.config.get("linux") or {}
    namespaces = linux.get("namespaces") or []
    if not k.access("/proc/self/ns/time", 0) or any(namespace["type"] == "time" for namespace in namespaces):
        return bundle
    config = {**bundle.config, "linux": {**linux, "namespaces": [*namespaces, {"type": "time"}]}}
    return bundle.replace(config=config, text=jsontext.dumps(config))


def _check(plan: Plan) -> None:
    for join in plan.namespaces.join:
        if join.flag in (k.CLONE_NEWCGROUP, k.CLONE_NEWNS):
            raise SpecError(
                f"criu cannot restore a container into a {join.type} namespace that is there already: {join.path}"
            )
