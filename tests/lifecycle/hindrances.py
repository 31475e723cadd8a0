# SPDX-License-Identifier: Apache-2.0
"""Why a lifecycle test cannot be run by an ordinary user, or with cgroups that systemd makes; all others can.

What is meant is the test, not the runtime: where a test needs privileges to prepare the host or to look at what it made,
or asks for what is refused to an ordinary user (which test_rootless.py, run by root, looks at). Each row is a reason and the
tests it holds for: a module, how the name of a function of it begins, and, after a blank, what else is in a test's id.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from .configs import subordinate_ids
from .harness import CGROUP_ROOT

Rows = dict[str, tuple[str, ...]]

ORDINARY_USER: Rows = {
    "needs root: mounts or unmounts on the host": (
        "test_cgroup_mounts",
        "test_failures::test_a_state_directory_that_is_full",
        "test_mount_options::test_a_flag_that_the_host_has_locked",
        "test_mount_options::test_a_remount_keeps_what_the_host_has_locked",
        "test_mount_options::test_a_shared_root_shares_with_the_host",
        "test_mount_options::test_a_tree_and_its_top",
        "test_mount_options::test_access_times_are_one_choice_of_three",
        "test_mount_options::test_every_recursive_attribute_at_once",
        "test_mount_options::test_every_recursive_attribute_taken_back",
        "test_mount_options::test_root_may_unlock_a_flag_of_the_hosts",
        "test_mounts::test_a_disk_read_only",
        "test_mounts::test_a_recursive_flag_can_clear",
        "test_mounts::test_a_root_on_a_nosuid_mount_made_readonly",
        "test_mounts::test_a_slave_sees_later_mounts_of_the_host",
        "test_mounts::test_bind_leaves_submounts_out",
        "test_mounts::test_bind_propagation",
        "test_mounts::test_rbind_takes_submounts_along",
        "test_mounts::test_recursive_flags_reach_submounts",
        "test_mounts::test_ro_leaves_submounts_writable",
        "test_mounts::test_rootfs_propagation",
        "test_mounts::test_the_hosts_mount_keeps_its_own_flags",
    ),
    "needs root: gives files to others": (
        "test_engines::test_a_container_like_podmans",
        "test_extensions::test_a_mount_with",
        "test_idmap",
        "test_mounts::test_tmpfs_that_starts_with_what_it_covers",
        "test_process::test_a_working_directory_that_only_the_user_may_enter",
        "test_state_output::test_the_owner_of_a_container_in_a_user_namespace",
    ),
    "needs root: maps other ids than the caller's, or none": (
        "test_console::test_mapped_users_can_open_their_streams_anew",
        "test_exec::test_exec_as_another_user 4000000000",
        "test_exec::test_exec_joins_a_user_namespace",
        "test_isolation::test_strace_shows_no_load_after_pivot_root",
        "test_mount_options::test_more_layers_than_fit_into_one_parameter True",
        "test_mount_options::test_no_pivot_in_a_user_namespace",
        "test_mount_options::test_sysfs_of_a_network_that_is_the_hosts",
        "test_mount_options::test_two_mounts_at_one_place",
        "test_mount_options::test_what_belongs_to_a_namespace_of_the_hosts",
        "test_mounts::test_devpts_is_the_containers_own",
        "test_namespaces::test_a_fifo_of_a_user_namespace",
        "test_namespaces::test_a_user_namespace_maps_ids",
        "test_namespaces::test_a_user_namespace_of_another_container",
        "test_namespaces::test_another_user_inside",
        "test_namespaces::test_devices_of_a_user_namespace_work",
        "test_namespaces::test_exec_as_a_mapped_user",
        "test_namespaces::test_root_inside_is_nobody_outside",
        "test_namespaces::test_rootless_in_a_user_namespace_of_the_caller",
        "test_namespaces::test_several_mappings",
        "test_namespaces::test_the_program_may_not_act_as_the_hosts_root",
        "test_namespaces::test_tmpfs_ids_are_those_of_the_container",
        "test_process::test_additional_groups",
        "test_process::test_home_is_found_with_hardly_a_descriptor_to_have own users",
        "test_process::test_the_callers_groups_are_dropped",
        "test_process_properties::test_a_scheduler own users",
        "test_process_properties::test_an_io_priority own users",
        "test_process_properties::test_exec_joins_the_keyring_of_its_container",
        "test_process_properties::test_the_oom_score_of_a_user_namespace",
        "test_process_properties::test_who_may_use_the_session_keyring",
        "test_rootless",
        "test_seccomp_listener::test_the_agent_has_the_say own users",
        "test_state_output::test_list_as_a_table",
        "test_state_output::test_list_as_json",
        "test_state_output::test_spec_writes_a_config_that_runs",
    ),
    "needs root: joins namespaces, or leaves out those that /proc and others belong to": (
        "test_hooks::test_a_hook_that_reads_nothing",
        "test_namespace_joins",
        "test_namespaces::TestWithoutAMountNamespace",
        "test_namespaces::test_a_namespace_joined_by_path",
        "test_namespaces::test_a_namespace_of_another_container",
        "test_namespaces::test_a_network_that_was_joined_is_left_as_it_is",
        "test_namespaces::test_a_pod",
        "test_namespaces::test_an_empty_sysctl",
        "test_process_properties::test_exec_without_a_pid_namespace",
        "test_readiness::test_without_a_mount_namespace_there_is_no_way",
        "test_run::test_a_process_that_took_the_pid_of_init_is_left_alone",
        "test_run::test_delete_force_takes_everybody_along",
        "test_run::test_kill_all_reaches_every_process",
        "test_run::test_kill_all_works_after_the_end_of_init",
        "test_run::test_run_reaps_nobody_elses_orphans",
        "test_run::test_run_shows_death_by_a_signal",
        "test_self_made_cgroups::test_processes_frozen_by_the_container_itself_are_killed no pid namespace",
    ),
    "needs root: looks into processes that do not let ordinary users": (
        "test_command_line::test_the_log_has_the_kernels_error_number",
        "test_exec::test_exec_works_in_a_created_container",
        "test_hooks::test_a_hook_runs_in_its_namespaces",
        "test_hooks::test_a_runtime_hook_finds_the_containers_namespaces",
        "test_isolation::test_the_trap_works",
        "test_isolation::test_the_waiting_init",
        "test_namespaces::test_a_new_namespace",
        "test_namespaces::test_an_absent_namespace_is_inherited",
        "test_seccomp_listener::test_what_the_agent_is_told_of_an_exec",
        "test_states::test_a_container_without_a_process_is_all_but_started",
    ),
    "needs root: makes devices": ("test_devices",),
    "needs root: makes network devices": ("test_extensions::test_a_network_device", "test_net_devices"),
    "needs root: sets what holds for the host": (
        "test_engines::test_a_container_like_dockers",
        "test_features::test_each_mount_option_is_taken",
        "test_mounts::test_bind_with_a_flag atime",
        "test_mounts::test_bind_with_a_flag nodiratime",
        "test_process_properties::test_a_real_time_scheduler",
        "test_process_properties::test_a_scheduler above others",
        "test_process_properties::test_an_io_priority RT",
    ),
    "needs root: has no part in huge pages": ("test_resources::test_huge_pages",),
    "needs root: gives cgroups away, or rules over devices": (
        "test_systemd::test_a_device_that_alone_is_refused_stays_so",
        "test_systemd::test_devices_stay_closed_when_systemd_reloads",
        "test_systemd::test_who_may_write_in_his_cgroup_may_divide_it",
    ),
    "needs root: chooses where the cgroup is": (
        "test_cgroups::test_a_cgroup_with_processes_of_others_is_refused",
        "test_cgroups::test_an_absolute_path",
        "test_cgroups::test_init_is_in_its_cgroup_when_create_returns",
        "test_cgroups::test_update_does_all_or_nothing_on_v2",
        "test_cgroups::test_without_a_path_the_id_names_the_cgroup",
        "test_engines::test_buildahs_calls",
        "test_run::test_cgroups_the_container_made_are_deleted",
    ),
}

NO_CGROUP_OF_HIS_OWN: Rows = {
    "needs a cgroup that belongs to the caller": (
        "test_cgroups",
        "test_command_line::test_commands_say_nothing_when_they_work",
        "test_command_line::test_rootless_in_every_spelling -False",
        "test_command_line::test_rootless_in_every_spelling -f",
        "test_engines::test_a_container_like_podmans_has_its_ambient_capability",
        "test_engines::test_containerds_calls",
        "test_engines::test_podmans_environment",
        "test_engines::test_the_callers_variables_change_nothing",
        "test_exec::test_exec_ends_with_the_container",
        "test_exec::test_exec_in_a_cgroup_below_that_of_the_container",
        "test_exec::test_exec_in_a_paused_container_if_told_to",
        "test_exec::test_exec_joins_every_cgroup",
        "test_half_made::test_gc",
        "test_intel_rdt::test_update_and_events",
        "test_isolation::test_nothing_is_loaded_for_a_rich_config",
        "test_mounts::test_cgroup_shows_the_containers_own_part",
        "test_process_properties::test_a_cpuset_holds_whatever_the_callers_affinity",
        "test_resources",
        "test_run::test_delete_force_of_a_paused_container",
        "test_run::test_kill_all_KILL_wakes_a_paused_container",
        "test_run::test_kill_wakes_a_paused_container",
        "test_run::test_run_passes_standard_streams_through",
        "test_state_output::test_ps_as_json_gives_host_pids",
        "test_states::test_a_container_paused_before_start_cannot_be_started",
        "test_states::test_a_created_container_can_be_paused",
        "test_states::test_a_paused_container_cannot_be_deleted",
        "test_states::test_a_paused_container_cannot_be_paused_again",
        "test_states::test_nothing_runs_in_a_paused_container",
        "test_states::test_pause_and_resume",
    ),
}

SYSTEMD: Rows = {
    "asks for systemd's cgroups itself": ("test_systemd",),
    "systemd may remove the cgroup before anybody has read of its end": (
        "test_cgroups::test_events_tell_of_too_little_memory",
    ),
    "needs cgroups that pyoci makes": (
        "test_cgroups::test_a_cgroup_with_processes_of_others_is_refused",
        "test_cgroups::test_a_path_with_dots_stays_below_the_mount",
        "test_cgroups::test_an_absolute_path",
        "test_cgroups::test_init_is_in_its_cgroup_when_create_returns",
        "test_cgroups::test_without_a_path_the_id_names_the_cgroup",
        "test_engines",
    ),
}


def applies(name: str, nodeid: str) -> bool:
    """Whether a row's `name` means the test with this id."""
    function, _, word = name.partition(" ")
    test = nodeid.partition("lifecycle/")[2].replace(".py", "", 1)
    return test.startswith(function if "::" in function else f"{function}::") and word in test


@cache
def has_own_cgroup() -> bool:
    """Whether the caller may make cgroups beside his own."""
    if not (CGROUP_ROOT / "cgroup.controllers").exists():
        return False
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    return os.access((CGROUP_ROOT / own).parent, os.W_OK)


def hindrance(nodeid: str, systemd: bool) -> str | None:
    """Why this test is left out for this caller, with cgroups made by systemd or by the runtime; None if it is not."""
    tables: list[Rows] = [SYSTEMD] if systemd else []
    if os.geteuid() != 0:
        if not (shutil.which("newuidmap") and subordinate_ids("subuid") and subordinate_ids("subgid")):
            return "needs root, or newuidmap and ids in /etc/subuid and /etc/subgid"
        tables.append(ORDINARY_USER)
        if not (systemd or has_own_cgroup()):
            tables.append(NO_CGROUP_OF_HIS_OWN)
    return next(
        (reason for table in tables for reason, names in table.items() for name in names if applies(name, nodeid)), None
    )
