# What Envoy's container runs before it is stopped: lets what passes through it end.
# It goes on accepting: where no other gateway is left, Kubernetes still sends clients here.
# Arguments: the admin port, the statistics of what is active and of all there was, the limit in
# seconds.
port=$1 active=$2 total=$3 limit=$4

quiet=5   # seconds in which nothing is active and nothing new comes

patience=5 # seconds for an answer: the pod's grace period is 30 s longer than the limit

# The official image has no curl.
ask() {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return
    printf 'GET /stats?filter=%s HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' "$2" >&3
    sed -n "s/^$2: //p" <&3
}
export -f ask

# An Envoy that hangs accepts and never answers, until its queue is full: then connects hang, too.
statistic() {
    timeout "$patience" bash -c 'ask "$@"' ask "$port" "$1"
}

begun=$(now) busy=$begun before=
say "to be stopped; what passes through has $limit s"
while sleep 1; do
    at=$(now)
    open=$(statistic "$active")
    all=$(statistic "$total")
    [ "$open" = 0 ] && [ "$all" = "$before" ] || busy=$at
    before=$all

    if [ $((at - begun)) -ge "$limit" ]; then
        say "cuts ${open:-all} that are open: the limit of $limit s is over"
        exit 1
    elif [ $((at - busy)) -ge $quiet ]; then
        say "done after $((at - begun)) s"
        exit
    fi
done
