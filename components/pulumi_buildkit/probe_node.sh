# What a pod runs to say whether its node can run BuildKit in the pod's security variant: starts a
# buildkitd, has it build one step, and where that fails says why, by what the node allows.
# Facts come first, a line each, as NAME=VALUE. The last line of a failure has the reason and what
# to do. Arguments: the variant, buildkitd's socket, the command that starts it.
variant=$1 socket=$2
shift 2

patience=60   # seconds that buildkitd may take to start

log=$(mktemp)
context=$(mktemp -d)

# A file that the kernel may not have.
fact() {
    if [ -r "$2" ]; then echo "$1=$(cat "$2")"; fi
}

process() {
    sed -n "s/^$1:[[:space:]]*//p" /proc/self/status
}

sysctl() {
    cat "/proc/sys/$1" 2>/dev/null
}

fail() {
    echo "$variant can't run here: $1"
    exit 1
}

# A user namespace that covers all users of the node is the node's own.
is_node_s() {
    awk '{ covered += $3 } END { exit (covered < 4294967295) }' /proc/self/uid_map
}

# Of what was said last, without a time and a level in front.
last_words() {
    grep -v '^[[:space:]]*$' "$log" | tail -n 1 | sed 's/.*msg="\(.*\)"$/\1/'
}

explain() {
    said=$(last_words)
    # What root may do does not depend on these.
    [ "$(id -u)" -ne 0 ] || fail "$said"
    [ "$(sysctl user/max_user_namespaces)" != 0 ] || fail "user.max_user_namespaces is 0, so that \
nobody gets a user namespace; set it on the node, or have buildkit:userNamespaces do it"
    [ "$(sysctl kernel/unprivileged_userns_clone)" != 0 ] || fail "kernel.unprivileged_userns_clone \
is 0, which leaves user namespaces to root; set it to 1 on the node, or take userns"
    [ "$(process Seccomp)" = 0 ] || fail "the pod has a seccomp filter, though it asks for none; \
have what adds one, a policy or the runtime, leave this namespace alone, or take userns ($said)"
    [ "$(process NoNewPrivs)" = 0 ] || fail "the pod may gain no privileges, so that newuidmap is of \
no use; have the policy that takes them away (allowPrivilegeEscalation) leave this namespace alone"
    [ "$(sysctl kernel/apparmor_restrict_unprivileged_userns)" != 1 ] || fail "AppArmor takes all \
rights in user namespaces away (kernel.apparmor_restrict_unprivileged_userns is 1); set it to 0 on \
the node, or take userns ($said)"
    fail "$said"
}

echo "kernel=$(uname -r)"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo cgroup=v2; else echo cgroup=v1; fi
# Of a user namespace of its own it would be the limit there, and not the node's.
if is_node_s; then fact user.max_user_namespaces /proc/sys/user/max_user_namespaces; fi
fact kernel.unprivileged_userns_clone /proc/sys/kernel/unprivileged_userns_clone
fact kernel.apparmor_restrict_unprivileged_userns \
    /proc/sys/kernel/apparmor_restrict_unprivileged_userns
if [ -e /dev/fuse ]; then echo fuse=yes; else echo fuse=no; fi

if [ "$variant" = userns ] && is_node_s; then
    fail "the pod got no user namespace, though it asks for one (hostUsers: false): the server or \
the kubelet does not know that yet; update the cluster, or take rootless"
fi

# As in the images' own entrypoints, who is not root starts it by RootlessKit.
[ "$(id -u)" -eq 0 ] || set -- rootlesskit "$@"
"$@" --addr "$socket" >"$log" 2>&1 &
buildkitd=$!
waited=0
until workers=$(buildctl --addr "$socket" debug workers --verbose 2>/dev/null); do
    kill -0 "$buildkitd" 2>/dev/null || explain
    [ "$waited" -lt "$patience" ] || fail "buildkitd does not answer after $patience s: $(last_words)"
    sleep 1
    waited=$((waited + 1))
done
echo "$workers" | sed -n 's/.*worker\.snapshotter:[[:space:]]*/snapshotter=/p' | head -n 1

# buildctl itself is the step: it needs no library, so that its image needs nothing else.
printf 'FROM scratch\nCOPY buildctl /\nRUN ["/buildctl", "--version"]\n' >"$context/Dockerfile"
binaries=$(dirname "$(command -v buildctl)")
buildctl --addr "$socket" build --progress plain --frontend dockerfile.v0 \
    --local context="$binaries" --local dockerfile="$context" >"$log" 2>&1 || explain
kill "$buildkitd"
echo "$variant runs here"
