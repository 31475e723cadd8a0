# SPDX-License-Identifier: Apache-2.0
"""What the container is to see of its cgroups, if it mounts them (config-linux.md, Control groups; cgroups(7))."""

from __future__ import annotations

from pyoci.plan.model import CgroupHierarchy, CgroupView, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroups.layout import Layout
    from pyoci.cgroups.plan import CgroupPlan


def plan_cgroup_view(cgroup: CgroupPlan, layout: Layout, namespaced: bool, unified: bool = False) -> CgroupView:
    """One directory for each hierarchy, named as the host names it; controllers that share one get links to it.

    A container without cgroups of its own is in ours, and sees them. `unified`: cgroup v2 on a host that has v1 as well, or
    alone: then there is one that nobody has mounted, and the container has nothing in it.
    """
    if unified or layout.mode == "v2":
        path, ours = cgroup.paths.get("", ""), ""
        if top := layout.hierarchies.get(""):
            path = top.mount_point if path and not namespaced else path
            ours = top.directory(top.own) or ""
        shown = CgroupHierarchy(name="", parameters=(), path=path, ours=ours)
        return CgroupView(unified=True, namespaced=namespaced, hierarchies=(shown,))
    controllers: dict[str, list[str]] = {}
    for controller, hierarchy in layout.hierarchies.items():
        if controller:
            controllers.setdefault(hierarchy.mount_point, []).append(controller)
    hierarchies, links = [], []
    for mount_point, names in controllers.items():
        name = mount_point.rpartition("/")[2]
        path, hierarchy = cgroup.paths.get(names[0], ""), layout.hierarchies[names[0]]
        ours = hierarchy.directory(hierarchy.own) or ""
        hierarchies.append(CgroupHierarchy(name=name, parameters=_parameters(names), path=path, ours=ours))
        links += [Link(path=one, target=name) for one in names if one != name and len(names) > 1]
    return CgroupView(unified=False, namespaced=namespaced, hierarchies=tuple(hierarchies), links=tuple(links))


def _parameters(names: list[str]) -> tuple[tuple[str, str | None], ...]:
    """The mount options that choose a hierarchy: its controllers, or its name where it has none."""
    parameters: list[tuple[str, str | None]] = []
    for name in names:
        if name.startswith("name="):
            parameters += [("none", None), ("name", name[5:])]
        else:
            parameters.append((name, None))
    return tuple(parameters)
