# What buildkitd's container runs before it is stopped: takes no new build, lets the others end.
# Arguments: buildkitd's socket, a file with the number of the process that is there for the
# readiness probe, the limit in seconds.
socket=$1 listener=$2 limit=$3

# buildctl would send traces as well, and wait for a collector that is away.
unset OTEL_EXPORTER_OTLP_TRACES_ENDPOINT

quiet=5      # seconds without a client, in which a late one may come
unused=120   # seconds that clients may stay connected without a build
deaf=120     # seconds that buildkitd may leave its socket unanswered

# What docker buildx does without a record (--call, bake from a URL) shows as a connection only:
# at the TCP port 1234, in hexadecimal, and at the socket.
connections() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "01" && $2 ~ /:04D2$/'
    awk -v path="${socket#unix://}" '$6 == "03" && $8 == path' /proc/net/unix
}

# The file goes first: without it the liveness probe does not open the port again.
close_port() {
    listening=$(cat "$listener") && rm "$listener" && kill -KILL "$listening"
}

# After the first signal alone buildkitd would let them run on until it is killed.
end_builds() {
    for _ in 1 2 3; do
        kill -TERM 1
        sleep 0.2
    done
}

close_port
begun=$(now) answered=$begun built=$begun served=$begun
say "no new builds from now on; those that run have $limit s"
while sleep 1; do
    at=$(now)
    records=$(timeout 10 buildctl --addr "$socket" debug histories) && answered=$at
    builds=$(echo "$records" | grep -c ^STARTED)
    clients=$(connections | wc -l)
    # Without an answer there may be builds.
    [ "$builds" -eq 0 ] && [ "$answered" = "$at" ] || built=$at
    # Of a build that nobody is connected for, its client has gone: what is left of a step may run on
    # for long, and keeps its record open.
    [ "$clients" -eq 0 ] || served=$at

    if [ $((at - begun)) -ge "$limit" ]; then
        say "cuts $builds builds and $clients clients: the limit of $limit s is over"
        end_builds
        exit 1
    elif [ $((at - answered)) -ge $deaf ]; then
        say "buildkitd has not answered for $deaf s"
        end_builds
        exit 1
    elif [ $((at - built)) -ge $unused ]; then
        say "done; $clients clients are connected and have built nothing for $unused s"
        exit
    elif [ $((at - served)) -ge $quiet ]; then
        say "done after $((at - begun)) s"
        [ "$builds" -eq 0 ] || end_builds
        exit
    fi
done
