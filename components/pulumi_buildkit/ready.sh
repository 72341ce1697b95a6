# Opens the port that the readiness probe asks. With buildkitd's socket it is the liveness probe: it
# asks buildkitd, and opens the port again if what held it open was killed, or hangs.
# Arguments: the port, a file with the number of the process that holds it open, the socket.
port=$1 file=$2 socket=${3-}

if [ -n "$socket" ]; then
    buildctl --addr "$socket" debug workers >/dev/null || exit
    # The drain removed the file: the port stays closed.
    [ -e "$file" ] || exit 0
    if timeout 2 nc 127.0.0.1 "$port" </dev/null >/dev/null 2>&1; then exit; fi
    kill -KILL "$(cat "$file")" 2>/dev/null || [ -e "$file" ] || exit 0
fi
nc -ll -p "$port" -e true </dev/null >/dev/null 2>&1 &
echo $! >"$file"
