# SPDX-License-Identifier: Apache-2.0
# Written by hack/docs from the tables in pyoci/cli: change those.

_pyoci_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
}

_pyoci_value() {
    case $1 in
        "exec --cap" | "exec -cap" | "exec --c" | "exec -c") _pyoci_words "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE" ;;
        " --root" | " -root" | "create --bundle" | "create -bundle" | "create --b" | "create -b" | "run --bundle" | "run -bundle" | "run --b" | "run -b" | "checkpoint --image-path" | "checkpoint -image-path" | "checkpoint --work-path" | "checkpoint -work-path" | "restore --image-path" | "restore -image-path" | "restore --work-path" | "restore -work-path" | "restore --bundle" | "restore -bundle" | "restore --b" | "restore -b" | "spec --bundle" | "spec -bundle" | "spec --b" | "spec -b" | "validate --bundle" | "validate -bundle" | "validate --b" | "validate -b" | "plan --bundle" | "plan -bundle" | "plan --b" | "plan -b") compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        " --log" | " -log" | " --criu" | " -criu" | "create --config" | "create -config" | "create --f" | "create -f" | "create --console-socket" | "create -console-socket" | "create --pid-file" | "create -pid-file" | "create --pidfd-socket" | "create -pidfd-socket" | "run --config" | "run -config" | "run --f" | "run -f" | "run --console-socket" | "run -console-socket" | "run --pid-file" | "run -pid-file" | "run --pidfd-socket" | "run -pidfd-socket" | "exec --process" | "exec -process" | "exec --p" | "exec -p" | "exec --console-socket" | "exec -console-socket" | "exec --pid-file" | "exec -pid-file" | "exec --pidfd-socket" | "exec -pidfd-socket" | "update --resources" | "update -resources" | "update --r" | "update -r" | "restore --console-socket" | "restore -console-socket" | "restore --pid-file" | "restore -pid-file" | "validate --config" | "validate -config" | "validate --f" | "validate -f" | "plan --config" | "plan -config" | "plan --f" | "plan -f") compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        "create --preserve-fds" | "create -preserve-fds" | "run --preserve-fds" | "run -preserve-fds" | "exec --cwd" | "exec -cwd" | "exec --env" | "exec -env" | "exec --e" | "exec -e" | "exec --user" | "exec -user" | "exec --u" | "exec -u" | "exec --additional-gids" | "exec -additional-gids" | "exec --g" | "exec -g" | "exec --apparmor" | "exec -apparmor" | "exec --process-label" | "exec -process-label" | "exec --cgroup" | "exec -cgroup" | "exec --preserve-fds" | "exec -preserve-fds" | "update --memory" | "update -memory" | "update --memory-reservation" | "update -memory-reservation" | "update --memory-swap" | "update -memory-swap" | "update --cpu-quota" | "update -cpu-quota" | "update --cpu-period" | "update -cpu-period" | "update --cpu-burst" | "update -cpu-burst" | "update --cpu-share" | "update -cpu-share" | "update --cpu-idle" | "update -cpu-idle" | "update --cpu-rt-period" | "update -cpu-rt-period" | "update --cpu-rt-runtime" | "update -cpu-rt-runtime" | "update --cpuset-cpus" | "update -cpuset-cpus" | "update --cpuset-mems" | "update -cpuset-mems" | "update --blkio-weight" | "update -blkio-weight" | "update --pids-limit" | "update -pids-limit" | "update --l3-cache-schema" | "update -l3-cache-schema" | "update --mem-bw-schema" | "update -mem-bw-schema" | "update --kernel-memory" | "update -kernel-memory" | "update --kernel-memory-tcp" | "update -kernel-memory-tcp" | "events --interval" | "events -interval" | "checkpoint --parent-path" | "checkpoint -parent-path" | "checkpoint --status-fd" | "checkpoint -status-fd" | "checkpoint --page-server" | "checkpoint -page-server" | "checkpoint --empty-ns" | "checkpoint -empty-ns" | "restore --empty-ns" | "restore -empty-ns" | "restore --lsm-profile" | "restore -lsm-profile" | "restore --lsm-mount-context" | "restore -lsm-mount-context") : ;;
        " --rootless" | " -rootless") _pyoci_words "auto true false" ;;
        " --cgroup-manager" | " -cgroup-manager") _pyoci_words "cgroupfs systemd disabled" ;;
        "checkpoint --manage-cgroups-mode" | "checkpoint -manage-cgroups-mode" | "restore --manage-cgroups-mode" | "restore -manage-cgroups-mode") _pyoci_words "soft full strict ignore" ;;
        "list --format" | "list -format" | "list --f" | "list -f" | "ps --format" | "ps -format" | "ps --f" | "ps -f") _pyoci_words "table json" ;;
        " --log-format" | " -log-format" | "validate --format" | "validate -format" | "plan --format" | "plan -format") _pyoci_words "text json" ;;
    esac
}

_pyoci_options() {
    case $1 in
        "") _pyoci_words "--root --log --log-format --debug --systemd-cgroup --cgroup-manager --rootless --version --help" ;;
        "create") _pyoci_words "--bundle --config --console-socket --pid-file --pidfd-socket --no-pivot --no-new-keyring --preserve-fds --help" ;;
        "start") _pyoci_words "--help" ;;
        "state") _pyoci_words "--help" ;;
        "kill") _pyoci_words "--all --regex --help" ;;
        "delete") _pyoci_words "--force --regex --help" ;;
        "run") _pyoci_words "--bundle --config --console-socket --pid-file --pidfd-socket --no-pivot --no-new-keyring --preserve-fds --detach --keep --no-subreaper --help" ;;
        "exec") _pyoci_words "--process --detach --tty --console-socket --pid-file --pidfd-socket --cwd --env --user --additional-gids --cap --no-new-privs --apparmor --process-label --cgroup --preserve-fds --ignore-paused --help" ;;
        "list") _pyoci_words "--format --quiet --help" ;;
        "gc") _pyoci_words "--dry-run --help" ;;
        "ps") _pyoci_words "--format --help" ;;
        "pause") _pyoci_words "--help" ;;
        "resume") _pyoci_words "--help" ;;
        "update") _pyoci_words "--resources --memory --memory-reservation --memory-swap --cpu-quota --cpu-period --cpu-burst --cpu-share --cpu-idle --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --blkio-weight --pids-limit --l3-cache-schema --mem-bw-schema --help" ;;
        "events") _pyoci_words "--interval --stats --help" ;;
        "checkpoint") _pyoci_words "--image-path --work-path --parent-path --leave-running --tcp-established --tcp-skip-in-flight --link-remap --ext-unix-sk --shell-job --lazy-pages --status-fd --page-server --file-locks --pre-dump --manage-cgroups-mode --empty-ns --auto-dedup --help" ;;
        "restore") _pyoci_words "--console-socket --image-path --work-path --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --bundle --detach --pid-file --no-subreaper --no-pivot --empty-ns --auto-dedup --lazy-pages --lsm-profile --lsm-mount-context --help" ;;
        "spec") _pyoci_words "--bundle --rootless --help" ;;
        "features") _pyoci_words "--help" ;;
        "validate") _pyoci_words "--bundle --config --format --help" ;;
        "plan") _pyoci_words "--bundle --config --no-pivot --no-new-keyring --format --help" ;;
    esac
}

_pyoci() {
    local current=${COMP_WORDS[COMP_CWORD]} command="" option="" arguments=0 i word
    local -a root=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then # of --option=value, which comes as three words
            [[ $option ]] || ((i++))
        elif [[ $option ]]; then
            [[ $command$option =~ ^--?root$ ]] && root=(--root "$word")
            option=""
        elif [[ $word == -* ]]; then
            case "$command $word" in
                " --root" | " -root" | "create --bundle" | "create -bundle" | "create --b" | "create -b" | "run --bundle" | "run -bundle" | "run --b" | "run -b" | "checkpoint --image-path" | "checkpoint -image-path" | "checkpoint --work-path" | "checkpoint -work-path" | "restore --image-path" | "restore -image-path" | "restore --work-path" | "restore -work-path" | "restore --bundle" | "restore -bundle" | "restore --b" | "restore -b" | "spec --bundle" | "spec -bundle" | "spec --b" | "spec -b" | "validate --bundle" | "validate -bundle" | "validate --b" | "validate -b" | "plan --bundle" | "plan -bundle" | "plan --b" | "plan -b" | " --log" | " -log" | " --criu" | " -criu" | "create --config" | "create -config" | "create --f" | "create -f" | "create --console-socket" | "create -console-socket" | "create --pid-file" | "create -pid-file" | "create --pidfd-socket" | "create -pidfd-socket" | "run --config" | "run -config" | "run --f" | "run -f" | "run --console-socket" | "run -console-socket" | "run --pid-file" | "run -pid-file" | "run --pidfd-socket" | "run -pidfd-socket" | "exec --process" | "exec -process" | "exec --p" | "exec -p" | "exec --console-socket" | "exec -console-socket" | "exec --pid-file" | "exec -pid-file" | "exec --pidfd-socket" | "exec -pidfd-socket" | "update --resources" | "update -resources" | "update --r" | "update -r" | "restore --console-socket" | "restore -console-socket" | "restore --pid-file" | "restore -pid-file" | "validate --config" | "validate -config" | "validate --f" | "validate -f" | "plan --config" | "plan -config" | "plan --f" | "plan -f" | " --log-format" | " -log-format" | "validate --format" | "validate -format" | "plan --format" | "plan -format" | " --cgroup-manager" | " -cgroup-manager" | " --rootless" | " -rootless" | "create --preserve-fds" | "create -preserve-fds" | "run --preserve-fds" | "run -preserve-fds" | "exec --cwd" | "exec -cwd" | "exec --env" | "exec -env" | "exec --e" | "exec -e" | "exec --user" | "exec -user" | "exec --u" | "exec -u" | "exec --additional-gids" | "exec -additional-gids" | "exec --g" | "exec -g" | "exec --apparmor" | "exec -apparmor" | "exec --process-label" | "exec -process-label" | "exec --cgroup" | "exec -cgroup" | "exec --preserve-fds" | "exec -preserve-fds" | "update --memory" | "update -memory" | "update --memory-reservation" | "update -memory-reservation" | "update --memory-swap" | "update -memory-swap" | "update --cpu-quota" | "update -cpu-quota" | "update --cpu-period" | "update -cpu-period" | "update --cpu-burst" | "update -cpu-burst" | "update --cpu-share" | "update -cpu-share" | "update --cpu-idle" | "update -cpu-idle" | "update --cpu-rt-period" | "update -cpu-rt-period" | "update --cpu-rt-runtime" | "update -cpu-rt-runtime" | "update --cpuset-cpus" | "update -cpuset-cpus" | "update --cpuset-mems" | "update -cpuset-mems" | "update --blkio-weight" | "update -blkio-weight" | "update --pids-limit" | "update -pids-limit" | "update --l3-cache-schema" | "update -l3-cache-schema" | "update --mem-bw-schema" | "update -mem-bw-schema" | "update --kernel-memory" | "update -kernel-memory" | "update --kernel-memory-tcp" | "update -kernel-memory-tcp" | "events --interval" | "events -interval" | "checkpoint --parent-path" | "checkpoint -parent-path" | "checkpoint --status-fd" | "checkpoint -status-fd" | "checkpoint --page-server" | "checkpoint -page-server" | "checkpoint --empty-ns" | "checkpoint -empty-ns" | "restore --empty-ns" | "restore -empty-ns" | "restore --lsm-profile" | "restore -lsm-profile" | "restore --lsm-mount-context" | "restore -lsm-mount-context" | "exec --cap" | "exec -cap" | "exec --c" | "exec -c" | "list --format" | "list -format" | "list --f" | "list -f" | "ps --format" | "ps -format" | "ps --f" | "ps -f" | "checkpoint --manage-cgroups-mode" | "checkpoint -manage-cgroups-mode" | "restore --manage-cgroups-mode" | "restore -manage-cgroups-mode") option=$word ;;
            esac
        elif [[ ! $command ]]; then
            command=$word
        else
            ((++arguments))
        fi
    done
    [[ $current == = ]] && current=""
    COMPREPLY=()
    if [[ $option ]]; then
        _pyoci_value "$command $option"
        return
    fi
    case "$command $arguments" in
        "exec "[1-9]* | "ps "[1-9]*) compopt -o default ;;
        *) [[ $current != -* ]] || _pyoci_options "$command" ;;
    esac
    [[ $current != -* ]] || return
    case "$command $arguments" in
        " 0" | "help 0") _pyoci_words "create start state kill delete run exec list gc ps pause resume update events checkpoint restore spec features validate plan help" ;;
        "start 0" | "state 0" | "kill 0" | "delete 0" | "exec 0" | "ps 0" | "pause 0" | "resume 0" | "update 0" | "events 0" | "checkpoint 0") _pyoci_words "$("${COMP_WORDS[0]}" "${root[@]}" list --quiet 2>/dev/null)" ;;
        "kill 1") _pyoci_words "ABRT ALRM CHLD CONT HUP INT KILL QUIT STOP TERM TSTP USR1 USR2 WINCH" ;;
    esac
}

complete -F _pyoci pyoci
