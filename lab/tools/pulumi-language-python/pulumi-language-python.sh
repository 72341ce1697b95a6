#!/bin/sh
# Starts Python's language host, of v3.78.1, as the CLI of today expects it to behave.
here=$(dirname "$0")
# The CLI sends the runtime options of Pulumi.yaml by RPC; this host knows the flag only.
venv=$(sed -n 's/^ *virtualenv: *//p' Pulumi.yaml 2>/dev/null)
exec "$here/pulumi-language-python-host" --use-executor="$here/pulumi-language-python-executor" \
	${venv:+--virtualenv="$venv" --root="$PWD"} "$@"
