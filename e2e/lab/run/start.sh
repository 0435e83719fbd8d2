# Starts a program of the lab that is to outlive the command that starts it: start.sh DIR PROGRAM ARG...
set -eu
. "$1/env"
. "$1/../../run/cgroup.sh"
shift
enter "$GROUP" $$
exec "$@"
