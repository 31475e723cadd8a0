# SPDX-License-Identifier: Apache-2.0
# Written by hack/docs from the tables in pyoci/cli: change those.

function __pyoci_words -d 'The words so far that are neither options nor their values'
    set -l command ''
    set -l value ''
    for word in (commandline -opc)[2..]
        if test -n "$value"
            set value ''
        else if string match -q -- '-*' $word
            contains -- "$command:$word" $__pyoci_taking; and set value $word
        else
            test -n "$command"; or set command $word
            echo -- $word
        end
    end
end

function __pyoci_at -d 'Whether that many words are there, the first of them this command'
    set -l words (__pyoci_words)
    test (count $words) -eq $argv[1]; and test "$argv[2]" = "$words[1]"
end

function __pyoci_in -d 'Whether options of this command may stand here'
    set -l words (__pyoci_words)
    test "$argv[1]" = "$words[1]"; and not __pyoci_beyond exec ps
end

function __pyoci_beyond -d 'Whether what stands here is passed on by one of these commands'
    set -l words (__pyoci_words)
    test (count $words) -ge 2; and contains -- $words[1] $argv
end

function __pyoci_containers
    set -l words (commandline -opc)
    set -l root
    for index in (seq (count $words))
        string match -qr -- '^--?root$' $words[$index]; and set root --root $words[(math $index + 1)]
        string match -qr -- '^--?root=' $words[$index]; and set root $words[$index]
    end
    command pyoci $root list --quiet 2>/dev/null
end

set -g __pyoci_taking :--root :-root :--log :-log :--log-format :-log-format :--cgroup-manager :-cgroup-manager :--rootless :-rootless :--criu :-criu create:--bundle create:-bundle create:--b create:-b create:--config create:-config create:--f create:-f create:--console-socket create:-console-socket create:--pid-file create:-pid-file create:--pidfd-socket create:-pidfd-socket create:--preserve-fds create:-preserve-fds run:--bundle run:-bundle run:--b run:-b run:--config run:-config run:--f run:-f run:--console-socket run:-console-socket run:--pid-file run:-pid-file run:--pidfd-socket run:-pidfd-socket run:--preserve-fds run:-preserve-fds exec:--process exec:-process exec:--p exec:-p exec:--console-socket exec:-console-socket exec:--pid-file exec:-pid-file exec:--pidfd-socket exec:-pidfd-socket exec:--cwd exec:-cwd exec:--env exec:-env exec:--e exec:-e exec:--user exec:-user exec:--u exec:-u exec:--additional-gids exec:-additional-gids exec:--g exec:-g exec:--cap exec:-cap exec:--c exec:-c exec:--apparmor exec:-apparmor exec:--process-label exec:-process-label exec:--cgroup exec:-cgroup exec:--preserve-fds exec:-preserve-fds list:--format list:-format list:--f list:-f ps:--format ps:-format ps:--f ps:-f update:--resources update:-resources update:--r update:-r update:--memory update:-memory update:--memory-reservation update:-memory-reservation update:--memory-swap update:-memory-swap update:--cpu-quota update:-cpu-quota update:--cpu-period update:-cpu-period update:--cpu-burst update:-cpu-burst update:--cpu-share update:-cpu-share update:--cpu-idle update:-cpu-idle update:--cpu-rt-period update:-cpu-rt-period update:--cpu-rt-runtime update:-cpu-rt-runtime update:--cpuset-cpus update:-cpuset-cpus update:--cpuset-mems update:-cpuset-mems update:--blkio-weight update:-blkio-weight update:--pids-limit update:-pids-limit update:--l3-cache-schema update:-l3-cache-schema update:--mem-bw-schema update:-mem-bw-schema update:--kernel-memory update:-kernel-memory update:--kernel-memory-tcp update:-kernel-memory-tcp events:--interval events:-interval spec:--bundle spec:-bundle spec:--b spec:-b validate:--bundle validate:-bundle validate:--b validate:-b validate:--config validate:-config validate:--f validate:-f validate:--format validate:-format plan:--bundle plan:-bundle plan:--b plan:-b plan:--config plan:-config plan:--f plan:-f plan:--format plan:-format

complete -c pyoci -f
complete -c pyoci -n '__pyoci_at 0' -l root -x -a '(__fish_complete_directories)' -d 'Keep the state of containers below DIR, which should be on a tmpfs'
complete -c pyoci -n '__pyoci_at 0' -l log -r -F -d 'Append messages to FILE, which is made if missing, or send them to the system\'s log with journald:NAME or syslog:NAME'
complete -c pyoci -n '__pyoci_at 0' -l log-format -x -a 'text json' -d 'Write the log as text or as JSON, one object with the keys level, msg and time for each message'
complete -c pyoci -n '__pyoci_at 0' -l debug -d 'Tell in the log what is done, step by step'
complete -c pyoci -n '__pyoci_at 0' -l systemd-cgroup -d 'Let systemd make the cgroup'
complete -c pyoci -n '__pyoci_at 0' -l cgroup-manager -x -a 'cgroupfs systemd disabled' -d 'Who makes the cgroup'
complete -c pyoci -n '__pyoci_at 0' -l rootless -x -a 'auto true false' -d 'Whether to go on without limits if the cgroup may not be written'
complete -c pyoci -n '__pyoci_at 0' -l version -s v -d 'Show the version, and that of the specification'
complete -c pyoci -n '__pyoci_at 0' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 0' -a create -d 'Make a container from a bundle, ready to start'
complete -c pyoci -n '__pyoci_at 0' -a start -d 'Run the program of a created container'
complete -c pyoci -n '__pyoci_at 0' -a state -d 'Show the state of a container'
complete -c pyoci -n '__pyoci_at 0' -a kill -d 'Send a signal to a container'
complete -c pyoci -n '__pyoci_at 0' -a delete -d 'Remove a stopped container'
complete -c pyoci -n '__pyoci_at 0' -a run -d 'Make a container, start it and wait for its end'
complete -c pyoci -n '__pyoci_at 0' -a exec -d 'Run one more process in a container'
complete -c pyoci -n '__pyoci_at 0' -a list -d 'Show all containers'
complete -c pyoci -n '__pyoci_at 0' -a gc -d 'Clear what commands that were killed left behind'
complete -c pyoci -n '__pyoci_at 0' -a ps -d 'Show the processes of a container'
complete -c pyoci -n '__pyoci_at 0' -a pause -d 'Freeze all processes of a container'
complete -c pyoci -n '__pyoci_at 0' -a resume -d 'Let the processes of a paused container go on'
complete -c pyoci -n '__pyoci_at 0' -a update -d 'Change the limits of a container'
complete -c pyoci -n '__pyoci_at 0' -a events -d 'Show what a container uses, and when it runs out of memory'
complete -c pyoci -n '__pyoci_at 0' -a spec -d 'Write a config.json to begin with'
complete -c pyoci -n '__pyoci_at 0' -a features -d 'Show what this runtime knows'
complete -c pyoci -n '__pyoci_at 0' -a validate -d 'Find all that is wrong with a config.json'
complete -c pyoci -n '__pyoci_at 0' -a plan -d 'Show what `create` and `start` would do here, without doing it'
complete -c pyoci -n '__pyoci_at 0' -a help -d 'Tell all about a command'
complete -c pyoci -n '__pyoci_at 1 help' -a 'create start state kill delete run exec list gc ps pause resume update events spec features validate plan'
complete -c pyoci -n '__pyoci_in create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'The bundle'
complete -c pyoci -n '__pyoci_in create' -l config -s f -r -F -d 'Read FILE in place of the bundle\'s config.json'
complete -c pyoci -n '__pyoci_in create' -l console-socket -r -F -d 'Send the master end of the container\'s terminal to the unix stream socket at PATH, as one message with one file descriptor'
complete -c pyoci -n '__pyoci_in create' -l pid-file -r -F -d 'Write the host\'s pid of the container\'s process to FILE'
complete -c pyoci -n '__pyoci_in create' -l pidfd-socket -r -F -d 'Send a pidfd of the container\'s process to the unix stream socket at PATH'
complete -c pyoci -n '__pyoci_in create' -l no-pivot -d 'Enter the root filesystem by moving its mount over / instead of by pivot_root'
complete -c pyoci -n '__pyoci_in create' -l no-new-keyring -d 'Leave the container in the caller\'s session keyring, instead of giving it a fresh one'
complete -c pyoci -n '__pyoci_in create' -l preserve-fds -x -d 'Pass on N more open file descriptors, counted from 3 + $LISTEN_FDS'
complete -c pyoci -n '__pyoci_in create' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in start' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 start' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in state' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 state' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in kill' -l all -s a -d 'Send the signal to every process in the container\'s cgroup'
complete -c pyoci -n '__pyoci_in kill' -l regex -s r -d 'The name is a regular expression'
complete -c pyoci -n '__pyoci_in kill' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 kill' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_at 2 kill' -a 'ABRT ALRM CHLD CONT HUP INT KILL QUIT STOP TERM TSTP USR1 USR2 WINCH'
complete -c pyoci -n '__pyoci_in delete' -l force -s f -d 'Kill the container if need be, wait for its end, and remove it'
complete -c pyoci -n '__pyoci_in delete' -l regex -s r -d 'The name is a regular expression'
complete -c pyoci -n '__pyoci_in delete' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 delete' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in run' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'The bundle'
complete -c pyoci -n '__pyoci_in run' -l config -s f -r -F -d 'Read FILE in place of the bundle\'s config.json'
complete -c pyoci -n '__pyoci_in run' -l console-socket -r -F -d 'Send the master end of the container\'s terminal to the unix stream socket at PATH, as one message with one file descriptor'
complete -c pyoci -n '__pyoci_in run' -l pid-file -r -F -d 'Write the host\'s pid of the container\'s process to FILE'
complete -c pyoci -n '__pyoci_in run' -l pidfd-socket -r -F -d 'Send a pidfd of the container\'s process to the unix stream socket at PATH'
complete -c pyoci -n '__pyoci_in run' -l no-pivot -d 'Enter the root filesystem by moving its mount over / instead of by pivot_root'
complete -c pyoci -n '__pyoci_in run' -l no-new-keyring -d 'Leave the container in the caller\'s session keyring, instead of giving it a fresh one'
complete -c pyoci -n '__pyoci_in run' -l preserve-fds -x -d 'Pass on N more open file descriptors, counted from 3 + $LISTEN_FDS'
complete -c pyoci -n '__pyoci_in run' -l detach -s d -d 'Return as soon as the container is started, and do not delete it'
complete -c pyoci -n '__pyoci_in run' -l keep -d 'Do not delete the container when its process has ended'
complete -c pyoci -n '__pyoci_in run' -l no-subreaper -d 'Do not adopt processes that the container\'s process leaves behind'
complete -c pyoci -n '__pyoci_in run' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in exec' -l process -s p -r -F -d 'Take the whole description of the process from FILE'
complete -c pyoci -n '__pyoci_in exec' -l detach -s d -d 'Return as soon as the process is started'
complete -c pyoci -n '__pyoci_in exec' -l tty -s t -d 'Give the process a terminal'
complete -c pyoci -n '__pyoci_in exec' -l console-socket -r -F -d 'Send the master end of the terminal to the unix stream socket at PATH'
complete -c pyoci -n '__pyoci_in exec' -l pid-file -r -F -d 'Write the host\'s pid of the process to FILE'
complete -c pyoci -n '__pyoci_in exec' -l pidfd-socket -r -F -d 'Send a pidfd of the process to the unix stream socket at PATH'
complete -c pyoci -n '__pyoci_in exec' -l cwd -x -d 'Start the process in DIR, a directory in the container'
complete -c pyoci -n '__pyoci_in exec' -l env -s e -x -d 'Set a variable besides those in config.json'
complete -c pyoci -n '__pyoci_in exec' -l user -s u -x -d 'Run as this user and group, both numbers of the container\'s user namespace'
complete -c pyoci -n '__pyoci_in exec' -l additional-gids -s g -x -d 'Add a supplementary group, besides those in config.json'
complete -c pyoci -n '__pyoci_in exec' -l cap -s c -x -a 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE' -d 'Add a capability to the bounding, effective and permitted sets'
complete -c pyoci -n '__pyoci_in exec' -l no-new-privs -d 'Set or, with =false, clear no_new_privs for the process'
complete -c pyoci -n '__pyoci_in exec' -l apparmor -x -d 'Confine the process by this AppArmor profile'
complete -c pyoci -n '__pyoci_in exec' -l process-label -x -d 'Run the process with this SELinux label'
complete -c pyoci -n '__pyoci_in exec' -l cgroup -x -d 'Put the process in a cgroup below that of the container'
complete -c pyoci -n '__pyoci_in exec' -l preserve-fds -x -d 'Pass on N more open file descriptors, counted from 3 + $LISTEN_FDS'
complete -c pyoci -n '__pyoci_in exec' -l ignore-paused -d 'Do not refuse if the container is paused'
complete -c pyoci -n '__pyoci_in exec' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 exec' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_beyond exec' -F
complete -c pyoci -n '__pyoci_in list' -l format -s f -x -a 'table json' -d 'Show a table, or a JSON array of objects as `pyoci state` shows them (null if there is none)'
complete -c pyoci -n '__pyoci_in list' -l quiet -s q -d 'Show the ids only'
complete -c pyoci -n '__pyoci_in list' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in gc' -l dry-run -s n -d 'Only show what would be cleared'
complete -c pyoci -n '__pyoci_in gc' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in ps' -l format -s f -x -a 'table json' -d 'Show the table of ps, or a JSON array of pids'
complete -c pyoci -n '__pyoci_in ps' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 ps' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_beyond ps' -F
complete -c pyoci -n '__pyoci_in pause' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 pause' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in resume' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 resume' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in update' -l resources -s r -r -F -d 'Take all changes from FILE, or from standard input if it is -'
complete -c pyoci -n '__pyoci_in update' -l memory -x -d 'The limit of memory'
complete -c pyoci -n '__pyoci_in update' -l memory-reservation -x -d 'What the container can count on when memory is short'
complete -c pyoci -n '__pyoci_in update' -l memory-swap -x -d 'The limit of memory and swap together'
complete -c pyoci -n '__pyoci_in update' -l cpu-quota -x -d 'CPU time in each period'
complete -c pyoci -n '__pyoci_in update' -l cpu-period -x -d 'The length of a period'
complete -c pyoci -n '__pyoci_in update' -l cpu-burst -x -d 'CPU time that may be saved up for later periods'
complete -c pyoci -n '__pyoci_in update' -l cpu-share -x -d 'The share of CPU time in relation to other containers (2 to 262144)'
complete -c pyoci -n '__pyoci_in update' -l cpu-idle -x -d 'With 1, get CPU time only if nobody else wants it'
complete -c pyoci -n '__pyoci_in update' -l cpu-rt-period -x -d 'The length of a period of real-time scheduling (cgroup v1)'
complete -c pyoci -n '__pyoci_in update' -l cpu-rt-runtime -x -d 'Real-time CPU time in each such period (cgroup v1)'
complete -c pyoci -n '__pyoci_in update' -l cpuset-cpus -x -d 'The CPUs to run on, as in 0-2,7'
complete -c pyoci -n '__pyoci_in update' -l cpuset-mems -x -d 'The memory nodes to use, as in 0-1'
complete -c pyoci -n '__pyoci_in update' -l blkio-weight -x -d 'The share of block I/O in relation to other containers (10 to 1000)'
complete -c pyoci -n '__pyoci_in update' -l pids-limit -x -d 'How many processes there may be'
complete -c pyoci -n '__pyoci_in update' -l l3-cache-schema -x -d 'The line for the L3 cache (Intel RDT), as in L3:0=ff;1=c0'
complete -c pyoci -n '__pyoci_in update' -l mem-bw-schema -x -d 'The line for memory bandwidth (Intel RDT), as in MB:0=20;1=70'
complete -c pyoci -n '__pyoci_in update' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 update' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in events' -l interval -x -d 'The time between statistics, with a unit'
complete -c pyoci -n '__pyoci_in events' -l stats -d 'Show the statistics once, at once, and end'
complete -c pyoci -n '__pyoci_in events' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_at 1 events' -a '(__pyoci_containers)'
complete -c pyoci -n '__pyoci_in spec' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'Write it into DIR'
complete -c pyoci -n '__pyoci_in spec' -l rootless -d 'Write one for an ordinary user'
complete -c pyoci -n '__pyoci_in spec' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in features' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in validate' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'Check the config.json of this bundle'
complete -c pyoci -n '__pyoci_in validate' -l config -s f -r -F -d 'Check FILE instead'
complete -c pyoci -n '__pyoci_in validate' -l format -x -a 'text json' -d 'Show lines for people and editors, or a JSON array with an object for each problem'
complete -c pyoci -n '__pyoci_in validate' -l help -s h -d 'Show this text'
complete -c pyoci -n '__pyoci_in plan' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'The bundle'
complete -c pyoci -n '__pyoci_in plan' -l config -s f -r -F -d 'Read FILE in place of the bundle\'s config.json'
complete -c pyoci -n '__pyoci_in plan' -l no-pivot -d 'Enter the root filesystem by moving its mount over / instead of by pivot_root'
complete -c pyoci -n '__pyoci_in plan' -l no-new-keyring -d 'Leave the container in the caller\'s session keyring, instead of giving it a fresh one'
complete -c pyoci -n '__pyoci_in plan' -l format -x -a 'text json' -d 'Show lines for people, or a JSON object'
complete -c pyoci -n '__pyoci_in plan' -l help -s h -d 'Show this text'
